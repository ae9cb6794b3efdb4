//! What a Job may say about which failures count, and about when it has done enough.
//!
//! The texts are upstream's; nothing here looks at pods. Read next: [`super::job_check`].

use model::field::{Error, ErrorList, Path};
use model::indexes::Intervals;
use serde_json::Value;

use super::check;
use super::read::Read;

/// Most rules of either policy, and most patterns of a rule.
const RULES_MAX: usize = 20;
/// Most exit codes of a rule: as many as there are.
const EXIT_CODES_MAX: usize = 255;
/// Longest list of indexes that must have succeeded.
const INDEXES_BYTES_MAX: usize = 64 * 1024;

/// All policies of a job's spec.
pub(crate) fn policies(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if spec.has("podFailurePolicy") {
        errors.extend(failure_policy(spec, &path.child("podFailurePolicy.rules")));
    }
    let at = path.child("successPolicy");
    if spec.has("successPolicy") && spec.text("completionMode") != "Indexed" {
        let bad = spec.at("successPolicy").clone();
        errors.push(Error::invalid(&at, bad, "requires indexed completion mode"));
    } else if spec.has("successPolicy") {
        errors.extend(success_policy(spec, &at.child("rules")));
    }
    let (policy, at) = (spec.text("podReplacementPolicy"), path.child("podReplacementPolicy"));
    let allowed: &[&str] =
        if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if spec.has("podReplacementPolicy") && !allowed.contains(&policy) {
        errors.push(Error::not_supported(&at, policy, allowed));
    }
    errors
}

/// Upstream's text for a value that is missing and could be one of these.
fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

/// A text that must be there and be one of these.
fn one_of(object: &Value, path: &Path, key: &str, allowed: &[&str], errors: &mut ErrorList) {
    match object.text(key) {
        "" => errors.push(Error::required(&path.child(key), valid_values(allowed))),
        text if !allowed.contains(&text) => {
            errors.push(Error::not_supported(&path.child(key), text, allowed));
        }
        _ => {}
    }
}

/// An error about the whole of something, whose value is not shown.
fn whole(path: &Path, detail: &str) -> Error {
    Error { bad_value: None, ..Error::invalid(path, Value::Null, detail) }
}

fn failure_policy(spec: &Value, path: &Path) -> ErrorList {
    let rules = spec.list("podFailurePolicy.rules");
    let mut errors = ErrorList::new();
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(path, rules.len(), RULES_MAX));
    }
    let pod = spec.at("template.spec");
    let containers = pod.list("containers").iter().chain(pod.list("initContainers"));
    let names: Vec<&str> = containers.map(|container| container.text("name")).collect();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        if rule.text("action") == "FailIndex" && !spec.has("backoffLimitPerIndex") {
            let detail = "requires the backoffLimitPerIndex to be set";
            errors.push(Error::invalid(&path.child("action"), "FailIndex", detail));
        }
        one_of(rule, &path, "action", &["Count", "FailIndex", "FailJob", "Ignore"], &mut errors);
        let (codes, patterns) = (rule.at("onExitCodes"), rule.list("onPodConditions"));
        if !codes.is_null() {
            errors.extend(exit_codes(codes, &path.child("onExitCodes"), &names));
        }
        errors.extend(pod_conditions(patterns, &path.child("onPodConditions")));
        match (codes.is_null(), patterns.is_empty()) {
            (false, false) => {
                let detail = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(whole(&path, detail));
            }
            (true, true) => {
                let detail = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(whole(&path, detail));
            }
            _ => {}
        }
    }
    errors
}

fn pod_conditions(patterns: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if patterns.len() > RULES_MAX {
        errors.push(Error::too_many(path, patterns.len(), RULES_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let (path, kind) = (path.index(index), pattern.text("type"));
        errors.extend(check::each(&path.child("type"), kind, model::names::qualified_name(kind)));
        one_of(pattern, &path, "status", &["False", "True", "Unknown"], &mut errors);
    }
    errors
}

fn exit_codes(codes: &Value, path: &Path, containers: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    one_of(codes, path, "operator", &["In", "NotIn"], &mut errors);
    let name = codes.text("containerName");
    if codes.has("containerName") && !containers.contains(&name) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.push(Error::invalid(&path.child("containerName"), name, detail));
    }
    let (values, at) = (codes.list("values"), path.child("values"));
    if values.is_empty() {
        errors.push(Error::invalid(&at, values.to_vec(), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(Error::too_many(&at, values.len(), EXIT_CODES_MAX));
    }
    for (index, value) in values.iter().enumerate() {
        if codes.text("operator") == "In" && value.as_i64() == Some(0) {
            let detail = "must not be 0 for the In operator";
            errors.push(Error::invalid(&at.index(index), 0, detail));
        }
        if values[..index].contains(value) {
            errors.push(Error::duplicate(&at.index(index), value.clone()));
        }
    }
    if !values.is_sorted_by_key(|value| value.as_i64().unwrap_or_default()) {
        errors.push(Error::invalid(&at, values.to_vec(), "must be ordered"));
    }
    errors
}

fn success_policy(spec: &Value, path: &Path) -> ErrorList {
    let rules = spec.list("successPolicy.rules");
    let completions = spec.number("completions").unwrap_or_default();
    let mut errors = ErrorList::new();
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(path, detail));
    }
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(success_rule(rule, completions, &path.index(index)));
    }
    errors
}

fn success_rule(rule: &Value, completions: i64, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (indexes, count) = (rule.at("succeededIndexes").as_str(), rule.number("succeededCount"));
    if indexes.is_none() && count.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(Error::required(path, detail));
    }
    let mut listed = 0;
    if let Some(text) = indexes {
        let at = path.child("succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.push(Error::too_long(&at, INDEXES_BYTES_MAX));
        }
        match Intervals::parse(text, u32::try_from(completions).unwrap_or_default()) {
            Ok(indexes) => listed = i64::from(indexes.count()),
            Err(detail) => {
                let detail = format!("error parsing succeededIndexes: {detail}");
                errors.push(Error::invalid(&at, text, detail));
            }
        }
    }
    if let Some(count) = count {
        let at = path.child("succeededCount");
        check::not_negative(rule, path, "succeededCount", &mut errors);
        if count > completions {
            let detail =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(Error::invalid(&at, count, detail));
        }
        if indexes.is_some() && count > listed {
            let detail = format!(
                "must be less than or equal to {listed} (the number of indexes in the specified \
                 succeededIndexes field)"
            );
            errors.push(Error::invalid(&at, count, detail));
        }
    }
    errors
}
