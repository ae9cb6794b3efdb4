//! What a DaemonSet must be, and what may change about it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::field::{Error, ErrorList, Path};
use model::selector::Selector;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::check::{self, root};
use super::deployment_check::{amount, number_or_percent};
use super::pod_spec;
use super::read::Read;

/// A new set.
pub(crate) fn create(object: &Value) -> ErrorList {
    let (spec, path) = (object.at("spec"), root("spec"));
    let mut errors = selector(spec, &path);
    errors.extend(template(spec, &path.child("template")));
    check::not_negative(spec, &path, "minReadySeconds", &mut errors);
    errors.extend(strategy(spec.at("updateStrategy"), &path.child("updateStrategy")));
    check::not_negative(spec, &path, "revisionHistoryLimit", &mut errors);
    errors
}

/// An update of the set.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = create(new);
    check::immutable(new.at("spec"), old.at("spec"), &root("spec"), "selector", &mut errors);
    errors
}

/// The selector must select something, and the template's pods.
fn selector(spec: &Value, path: &Path) -> ErrorList {
    let (selector, at) = (spec.at("selector"), path.child("selector"));
    let mut errors = check::label_selector(selector, &at);
    if selector.is_null() {
        errors.push(Error::required(&at, ""));
        return errors;
    }
    if selector.entries("matchLabels").next().is_none() && selector.list("matchExpressions").is_empty() {
        let detail = "empty selector is invalid for daemonset";
        errors.push(Error::invalid(&at, selector.clone(), detail));
    }
    let labels = spec.at("template.metadata.labels");
    let of_pods: BTreeMap<String, String> = spec
        .entries("template.metadata.labels")
        .map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let parsed = LabelSelector::deserialize(selector).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|selector| Selector::from_label_selector(&selector));
    if parsed.is_ok_and(|selector| !selector.matches(&of_pods)) {
        let bad = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&path.child("template.metadata.labels"), bad, detail));
    }
    errors
}

fn template(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = check::labels(spec.at("template.metadata.labels"), &path.child("labels"));
    let annotations = spec.at("template.metadata.annotations");
    errors.extend(check::annotations(annotations, &path.child("annotations")));
    let pod = spec.at("template.spec");
    let (policy_at, deadline_at) =
        (path.child("spec.restartPolicy"), path.child("spec.activeDeadlineSeconds"));
    if pod.is_object() {
        let mut of_pod = pod_spec::check::spec(pod, &path.child("spec"));
        // Said below, about sets.
        of_pod.retain(|error| error.path != policy_at && error.path != deadline_at);
        errors.extend(of_pod);
    }
    let policy = pod.text("restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(&policy_at, policy, &["Always"]));
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in DaemonSet is not Supported";
        errors.push(Error::forbidden(&deadline_at, detail));
    }
    errors
}

fn strategy(strategy: &Value, path: &Path) -> ErrorList {
    let rolling = strategy.at("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => ErrorList::new(),
        "RollingUpdate" if rolling.is_null() => vec![Error::required(&path.child("rollingUpdate"), "")],
        "RollingUpdate" => rolling_update(rolling, &path.child("rollingUpdate")),
        _ => vec![Error::not_supported(path, strategy.clone(), &["RollingUpdate", "OnDelete"])],
    }
}

fn rolling_update(rolling: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in ["maxUnavailable", "maxSurge"] {
        let (value, at) = (rolling.at(key), path.child(key));
        errors.extend(number_or_percent(value, &at));
        if value.is_string() && amount(value).is_some_and(|percent| percent > 100) {
            errors.push(Error::invalid(&at, value.clone(), "must not be greater than 100%"));
        }
    }
    let is_set = |key: &str| amount(rolling.at(key)).unwrap_or_default() != 0;
    match (is_set("maxUnavailable"), is_set("maxSurge")) {
        (true, true) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(Error::invalid(&path.child("maxSurge"), rolling.at("maxSurge").clone(), detail));
        }
        (false, false) => {
            let detail = "cannot be 0 when maxSurge is 0";
            errors.push(Error::required(&path.child("maxUnavailable"), detail));
        }
        _ => {}
    }
    errors
}

/// An update of its status.
pub(crate) fn status_update(new: &Value, old: &Value) -> ErrorList {
    let (path, status) = (root("status"), new.at("status"));
    let mut errors = ErrorList::new();
    let counts = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    for key in counts {
        check::not_negative(status, &path, key, &mut errors);
    }
    let collisions = |object: &Value| object.number("status.collisionCount").unwrap_or_default();
    if collisions(new) < collisions(old) {
        let at = path.child("collisionCount");
        errors.push(Error::invalid(&at, collisions(new), "cannot be decremented"));
    }
    errors
}
