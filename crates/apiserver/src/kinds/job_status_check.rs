//! What the status of a Job may become: whoever writes it must not turn back what clients have seen.
//!
//! As upstream, a rule is asked only where this write changes what it is about.

use model::field::{Error, ErrorList, Path};
use model::indexes::Intervals;
use serde_json::Value;

use super::check::{self, root};
use super::job::holds;
use super::read::Read;

/// An update of the status.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let (path, status) = (root("status"), new.at("status"));
    let mut errors = ErrorList::new();
    for key in ["active", "succeeded", "failed", "ready", "terminating"] {
        check::not_negative(status, &path, key, &mut errors);
    }
    errors.extend(uncounted(status, &path.child("uncountedTerminatedPods")));
    errors.extend(counters(new, old, &path));
    errors.extend(conditions(new, old, &path.child("conditions")));
    errors.extend(times(new, old, &path));
    errors.extend(finish(new, old, &path));
    errors.extend(indexes(new, old, &path));
    errors
}

fn uncounted(status: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = std::collections::HashSet::new();
    for list in ["succeeded", "failed"] {
        let uids = status.at("uncountedTerminatedPods").list(list).iter().filter_map(Value::as_str);
        for (index, uid) in uids.enumerate() {
            let at = path.child(list).index(index);
            if uid.is_empty() {
                errors.push(Error::invalid(&at, uid, "must not be empty"));
            } else if !seen.insert(uid) {
                errors.push(Error::duplicate(&at, uid));
            }
        }
    }
    errors
}

fn counters(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let count = |object: &Value, key: &str| object.at("status").number(key).unwrap_or_default();
    let mut errors = ErrorList::new();
    let mut refuse = |key: &str| {
        let detail = format!("cannot decrease the {key} counter");
        errors.push(Error::invalid(&path.child(key), count(new, key), detail));
    };
    if count(new, "failed") < count(old, "failed") {
        refuse("failed");
    }
    // An indexed job can be made smaller.
    let shrinks = new.text("spec.completionMode") == "Indexed"
        && new.at("spec.completions") == new.at("spec.parallelism");
    if !shrinks && count(new, "succeeded") < count(old, "succeeded") {
        refuse("succeeded");
    }
    errors
}

fn whole(path: &Path, detail: impl Into<String>) -> Error {
    Error { bad_value: None, ..Error::invalid(path, Value::Null, detail) }
}

fn conditions(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let changed = |kind: &str| holds(new, kind) != holds(old, kind);
    let both = [
        ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
        ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
        ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (
            "SuccessCriteriaMet",
            "FailureTarget",
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
    ];
    for (one, other, detail) in both {
        if (changed(one) || changed(other)) && holds(new, one) && holds(new, other) {
            errors.push(whole(path, detail));
        }
    }
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if holds(old, kind) && !holds(new, kind) {
            errors.push(whole(path, format!("cannot disable the terminal {kind}=True condition")));
        }
    }
    if holds(old, "SuccessCriteriaMet") && !holds(new, "SuccessCriteriaMet") {
        errors.push(whole(path, "cannot disable the SuccessCriteriaMet=True condition"));
    }
    if holds(old, "Complete") && !holds(old, "SuccessCriteriaMet") && holds(new, "SuccessCriteriaMet") {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(whole(path, detail));
    }
    if new.has("spec.successPolicy") && holds(new, "Complete") && !holds(new, "SuccessCriteriaMet") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.push(whole(path, detail));
    }
    errors
}

fn times(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let at = |object: &Value, key: &str| object.at("status").at(key).clone();
    let (began, ended) = (at(new, "startTime"), at(new, "completionTime"));
    let (began_before, ended_before) = (at(old, "startTime"), at(old, "completionTime"));
    let (start, completion) = (path.child("startTime"), path.child("completionTime"));
    let is_complete = holds(new, "Complete");
    let mut errors = ErrorList::new();
    if is_complete != holds(old, "Complete") || ended != ended_before {
        match (is_complete, ended.is_null()) {
            (false, false) => {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.push(Error::invalid(&completion, ended.clone(), detail));
            }
            (true, true) => {
                let detail = "completionTime is required for Complete jobs";
                errors.push(Error::required(&completion, detail));
            }
            _ => {}
        }
    }
    if (began != began_before || ended != ended_before)
        && let (Some(began), Some(ended)) = (began.as_str(), ended.as_str())
        && ended < began
    {
        let detail = "completionTime cannot be set before startTime";
        errors.push(Error::invalid(&completion, ended, detail));
    }
    if !ended.is_null() && !ended_before.is_null() && ended != ended_before {
        errors.push(Error::invalid(&completion, ended, "completionTime cannot be mutated"));
    }
    if !began_before.is_null() && began != began_before && !new.flag("spec.suspend") && began.is_null() {
        errors.push(Error::required(&start, "startTime cannot be removed for unsuspended job"));
    }
    errors
}

fn finish(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let finished = |object: &Value| holds(object, "Complete") || holds(object, "Failed");
    let mut errors = ErrorList::new();
    if !finished(new) {
        return errors;
    }
    let (status, before) = (new.at("status"), old.at("status"));
    let changed = |key: &str| !finished(old) || status.at(key) != before.at(key);
    let active = status.number("active").unwrap_or_default();
    if changed("active") && active > 0 {
        let detail = "active>0 is invalid for finished job";
        errors.push(Error::invalid(&path.child("active"), active, detail));
    }
    if changed("startTime") && !status.has("startTime") {
        errors.push(Error::required(&path.child("startTime"), "startTime is required for finished job"));
    }
    let uncounted = status.at("uncountedTerminatedPods");
    let left = ["succeeded", "failed"].iter().any(|list| !uncounted.list(list).is_empty());
    if changed("uncountedTerminatedPods") && left {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        errors.push(Error::invalid(&path.child("uncountedTerminatedPods"), uncounted.clone(), detail));
    }
    let terminating = status.number("terminating").unwrap_or_default();
    if changed("terminating") && terminating > 0 {
        let detail = "terminating>0 is invalid for finished job";
        errors.push(Error::invalid(&path.child("terminating"), terminating, detail));
    }
    errors
}

fn indexes(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let (status, before) = (new.at("status"), old.at("status"));
    let (completed, failed) = (status.text("completedIndexes"), status.at("failedIndexes").as_str());
    let changed = |key: &str| status.at(key) != before.at(key);
    let (at_completed, at_failed) = (path.child("completedIndexes"), path.child("failedIndexes"));
    let mut errors = ErrorList::new();
    let end = new.number("spec.completions").and_then(|count| u32::try_from(count).ok());
    let read = |text: &str| end.map_or_else(|| Ok(Intervals::default()), |end| Intervals::parse(text, end));
    let (done, lost) = (read(completed), read(failed.unwrap_or_default()));
    if changed("completedIndexes") {
        if let Err(detail) = &done {
            let detail = format!("error parsing completedIndexes: {detail}");
            errors.push(Error::invalid(&at_completed, completed, detail));
        }
        if !completed.is_empty() && new.text("spec.completionMode") != "Indexed" {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(Error::invalid(&at_completed, completed, detail));
        }
    }
    if let Some(failed) = failed.filter(|_| changed("failedIndexes")) {
        match &lost {
            _ if !new.has("spec.backoffLimitPerIndex") => {
                let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
                errors.push(Error::invalid(&at_failed, failed, detail));
            }
            Err(detail) => {
                let detail = format!("error parsing failedIndexes: {detail}");
                errors.push(Error::invalid(&at_failed, failed, detail));
            }
            Ok(_) => {}
        }
    }
    if (changed("failedIndexes") || changed("completedIndexes"))
        && let (Ok(done), Ok(lost)) = (done, lost)
        && let Some(index) = done.overlap(&lost)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(Error::invalid(&at_failed, failed.unwrap_or_default(), detail));
    }
    errors
}
