//! What a Job must be, and what may change about it; a CronJob's template is checked by the same rules.
//!
//! Read next: [`super::job_policy_check`].

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::field::{Error, ErrorList, Path};
use model::job;
use model::selector::Selector;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::check::{self, root};
use super::read::{self, Read};
use super::{job_policy_check, pod_spec};

/// Most pods of an indexed job at once, and most of its indexes that may fail: what its status has room for.
const INDEXED_MAX: i64 = 100_000;
/// Completions from which on fewer may run and fail at once.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
/// How many those are.
const HIGH_COMPLETIONS_MAX: i64 = 10_000;
/// Longest name of who looks after the job.
const MANAGED_BY_BYTES_MAX: usize = 63;

/// A new job.
pub(crate) fn create(object: &Value) -> ErrorList {
    let (own, path) = (object.at("spec"), root("spec"));
    let mut errors = generated_selector(object);
    errors.extend(spec(own, &path));
    errors.extend(selector(own, &path));
    if own.text("completionMode") == "Indexed"
        && let Some(completions) = own.number("completions").filter(|count| *count > 0)
    {
        let name = object.text("metadata.name");
        let hostname = format!("{name}-{}", completions - 1);
        if !model::names::dns1123_label(&hostname).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {hostname}");
            errors.push(Error::invalid(&root("metadata.name"), name, detail));
        }
    }
    errors
}

/// An update of the job.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = create(new);
    let (before, after, path) = (old.at("spec"), new.at("spec"), root("spec"));
    errors.extend(completions_update(after, before, &path));
    check::immutable(after, before, &path, "selector", &mut errors);
    let mut template = before.at("template").clone();
    // A job that never started may still be sent elsewhere.
    if old.flag("spec.suspend") && !old.has("status.startTime") {
        take_scheduling(&mut template, after.at("template"));
    }
    if !check::same(after.at("template"), &template) {
        let bad = after.at("template").clone();
        errors.push(Error::invalid(&path.child("template"), bad, check::IMMUTABLE));
    }
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        check::immutable(after, before, &path, key, &mut errors);
    }
    errors
}

/// An indexed job may grow or shrink with its parallelism; other completions stay.
fn completions_update(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.text("completionMode") != "Indexed" {
        check::immutable(new, old, path, "completions", &mut errors);
    } else if let Some(completions) = new.number("completions")
        && old.number("completions") != Some(completions)
        && new.number("parallelism") != Some(completions)
    {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(&path.child("completions"), completions, detail));
    }
    errors
}

/// Takes over what says where pods go.
fn take_scheduling(template: &mut Value, new: &Value) {
    for key in ["annotations", "labels"] {
        let metadata = read::object_mut(template, "metadata");
        read::keep(metadata, new.at("metadata"), key);
    }
    let spec = read::object_mut(template, "spec");
    for key in ["nodeSelector", "tolerations", "schedulingGates"] {
        read::keep(spec, new.at("spec"), key);
    }
    let affinity = read::object_mut(spec, "affinity");
    read::keep(affinity, new.at("spec.affinity"), "nodeAffinity");
}

/// A selector that was not chosen must be the one that the server makes.
fn generated_selector(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if object.flag("spec.manualSelector") || !object.has("spec.selector") {
        return errors;
    }
    let (uid, name) = (object.text("metadata.uid"), object.text("metadata.name"));
    if uid.is_empty() {
        errors.push(Error::required(&root("metadata.uid"), ""));
    }
    let expected = [
        (job::CONTROLLER_UID_OLD, uid),
        (job::JOB_NAME_OLD, name),
        (job::CONTROLLER_UID, uid),
        (job::JOB_NAME, name),
    ];
    let labels = object.at("spec.template.metadata.labels");
    for (key, value) in expected {
        let path = root("spec.template.metadata.labels").key(key);
        let detail = format!("must be '{value}'");
        match labels.get(key).and_then(Value::as_str) {
            None => errors.push(Error::required(&path, detail)),
            Some(other) if other != value => errors.push(Error::invalid(&path, labels.clone(), detail)),
            Some(_) => {}
        }
    }
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    if let Ok(selector) = read_selector(object.at("spec.selector"))
        && !selector.matches(&BTreeMap::from(expected))
    {
        let bad = object.at("spec.selector").clone();
        errors.push(Error::invalid(&root("spec.selector"), bad, "`selector` not auto-generated"));
    }
    errors
}

fn read_selector(selector: &Value) -> Result<Selector, String> {
    let parsed = LabelSelector::deserialize(selector).map_err(|error| error.to_string())?;
    Selector::from_label_selector(&parsed)
}

/// The selector, which the template's pods must satisfy.
fn selector(spec: &Value, path: &Path) -> ErrorList {
    let (selector, at) = (spec.at("selector"), path.child("selector"));
    if selector.is_null() {
        return vec![Error::required(&at, "")];
    }
    let mut errors = check::label_selector(selector, &at);
    let labels = spec.at("template.metadata.labels");
    let of_pods: BTreeMap<String, String> = spec
        .entries("template.metadata.labels")
        .map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    if read_selector(selector).is_ok_and(|selector| !selector.matches(&of_pods)) {
        let bad = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&path.child("template.metadata.labels"), bad, detail));
    }
    errors
}

/// The spec of a job, or of a template for jobs, but for its selector.
pub(crate) fn spec(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    for key in counts {
        check::not_negative(spec, path, key, &mut errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        let detail = "when maxFailedIndexes is specified";
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), detail));
    }
    if let Some(manager) = spec.at("managedBy").as_str() {
        errors.extend(managed_by(manager, &path.child("managedBy")));
    }
    match spec.text("completionMode") {
        "Indexed" => errors.extend(indexed(spec, path)),
        "NonIndexed" | "" => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(number) = spec.number(key) {
                    let detail = "requires indexed completion mode";
                    errors.push(Error::invalid(&path.child(key), number, detail));
                }
            }
        }
        other => {
            let allowed = ["NonIndexed", "Indexed"];
            errors.push(Error::not_supported(&path.child("completionMode"), other, &allowed));
        }
    }
    errors.extend(job_policy_check::policies(spec, path));
    errors.extend(template(spec, path));
    errors
}

fn managed_by(manager: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    match manager.split_once('/') {
        _ if manager.is_empty() => errors.push(Error::required(path, "")),
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            errors.extend(check::each(path, host, model::names::dns1123_subdomain(host)));
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(Error::invalid(path, manager, detail));
        }
    }
    if manager.len() > MANAGED_BY_BYTES_MAX {
        errors.push(Error::too_long(path, MANAGED_BY_BYTES_MAX));
    }
    errors
}

fn indexed(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (completions, failing) = (spec.number("completions"), spec.number("maxFailedIndexes"));
    if completions.is_none() {
        errors.push(Error::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    let parallelism = spec.number("parallelism").unwrap_or_default();
    let mut refuse = |key: &str, number: i64, detail: String| {
        errors.push(Error::invalid(&path.child(key), number, detail));
    };
    if parallelism > INDEXED_MAX {
        let detail = format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed");
        refuse("parallelism", parallelism, detail);
    }
    if let (Some(completions), Some(failing)) = (completions, failing)
        && failing > completions
    {
        refuse("maxFailedIndexes", failing, "must be less than or equal to completions".to_owned());
    }
    if let Some(failing) = failing.filter(|failing| *failing > INDEXED_MAX) {
        refuse("maxFailedIndexes", failing, format!("must be less than or equal to {INDEXED_MAX}"));
    }
    let is_high = completions.is_some_and(|completions| completions > COMPLETIONS_SOFT_MAX);
    if is_high && spec.has("backoffLimitPerIndex") {
        let detail = format!(
            "must be less than or equal to {HIGH_COMPLETIONS_MAX} when completions are above \
             {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
        );
        if parallelism > HIGH_COMPLETIONS_MAX {
            refuse("parallelism", parallelism, detail.clone());
        }
        match failing {
            None => {
                let detail = format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
                errors.push(Error::required(&path.child("maxFailedIndexes"), detail));
            }
            Some(failing) if failing > HIGH_COMPLETIONS_MAX => refuse("maxFailedIndexes", failing, detail),
            Some(_) => {}
        }
    }
    errors
}

fn template(spec: &Value, path: &Path) -> ErrorList {
    let path = path.child("template");
    let mut errors = check::labels(spec.at("template.metadata.labels"), &path.child("labels"));
    let annotations = spec.at("template.metadata.annotations");
    errors.extend(check::annotations(annotations, &path.child("annotations")));
    let pod = spec.at("template.spec");
    let at = path.child("spec.restartPolicy");
    if pod.is_object() {
        let mut of_pod = pod_spec::check::spec(pod, &path.child("spec"));
        // Said below, about jobs.
        of_pod.retain(|error| error.path != at);
        errors.extend(of_pod);
    }
    match pod.text("restartPolicy") {
        "Always" | "" => errors.push(Error::required(&at, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.has("podFailurePolicy") => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(Error::invalid(&at, "OnFailure", detail));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(Error::not_supported(&at, other, &["OnFailure", "Never"])),
    }
    errors
}

/// Warnings about an accepted job.
pub(crate) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    let messages = model::names::dns1123_label(new.text("metadata.name"));
    if old.is_none() && !messages.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising \
             behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
    if old.is_none_or(|old| !check::same(new.at("spec"), old.at("spec"))) {
        warnings.extend(warnings_of_spec(new.at("spec"), "spec"));
    }
    warnings
}

/// Warnings about the spec of a job, or of a template for jobs.
pub(crate) fn warnings_of_spec(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let count = |key: &str| spec.number(key).unwrap_or_default();
    if spec.text("completionMode") == "Indexed"
        && count("completions") > COMPLETIONS_SOFT_MAX
        && count("parallelism") > HIGH_COMPLETIONS_MAX
    {
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher \
             than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes \
             fail"
        ));
    }
    let template = format!("{path}.template.spec");
    warnings.extend(pod_spec::warnings::spec(spec.at("template.spec"), &template));
    warnings
}
