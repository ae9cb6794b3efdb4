//! What a ReplicaSet must be, and what may change about it; what it says about pods is what a Deployment
//! says about them too.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::field::{Error, ErrorList};
use model::selector::Selector;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::check::{self, root};
use super::pod_spec;
use super::read::Read;

/// A new set.
pub(crate) fn create(object: &Value) -> ErrorList {
    let (spec, path) = (object.at("spec"), root("spec"));
    let mut errors = ErrorList::new();
    check::not_negative(spec, &path, "replicas", &mut errors);
    check::not_negative(spec, &path, "minReadySeconds", &mut errors);
    errors.extend(pods(spec));
    errors
}

/// An update of the set.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = create(new);
    check::immutable(new.at("spec"), old.at("spec"), &root("spec"), "selector", &mut errors);
    errors
}

/// The selector, which must select something, and the template, which it must select.
pub(crate) fn pods(spec: &Value) -> ErrorList {
    let path = root("spec");
    let (selector, at) = (spec.at("selector"), path.child("selector"));
    let mut errors = ErrorList::new();
    if selector.is_null() {
        errors.push(Error::required(&at, ""));
    } else {
        errors.extend(check::label_selector(selector, &at));
        let empty = selector.entries("matchLabels").next().is_none();
        if empty && selector.list("matchExpressions").is_empty() {
            let detail = "empty selector is invalid for deployment";
            errors.push(Error::invalid(&at, selector.clone(), detail));
        }
    }
    let parsed = LabelSelector::deserialize(selector).map_err(|error| error.to_string());
    match parsed.and_then(|selector| Selector::from_label_selector(&selector)) {
        Ok(parsed) => errors.extend(template(spec, &parsed)),
        Err(_) if selector.is_null() => errors.extend(template(spec, &Selector::everything())),
        Err(_) => errors.push(Error::invalid(&at, selector.clone(), "invalid label selector")),
    }
    errors
}

fn template(spec: &Value, selector: &Selector) -> ErrorList {
    let path = root("spec.template");
    let labels = spec.at("template.metadata.labels");
    let labels_of_pods: BTreeMap<String, String> = spec
        .entries("template.metadata.labels")
        .map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let mut errors = ErrorList::new();
    if !selector.to_string().is_empty() && !selector.matches(&labels_of_pods) {
        let bad = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        errors.push(Error::invalid(&path.child("metadata.labels"), bad, detail));
    }
    errors.extend(check::labels(labels, &path.child("labels")));
    let annotations = spec.at("template.metadata.annotations");
    errors.extend(check::annotations(annotations, &path.child("annotations")));
    let pod = spec.at("template.spec");
    if pod.is_object() {
        let mut of_pod = pod_spec::check::spec(pod, &path.child("spec"));
        // Said below, about sets.
        let once = ["spec.template.spec.restartPolicy", "spec.template.spec.activeDeadlineSeconds"];
        of_pod.retain(|error| !once.contains(&error.path.to_string().as_str()));
        errors.extend(of_pod);
    }
    let policy = pod.text("restartPolicy");
    if policy != "Always" {
        errors.push(Error::not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]));
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(Error::forbidden(&path.child("spec.activeDeadlineSeconds"), detail));
    }
    errors
}

/// An update of its status.
pub(crate) fn status_update(new: &Value) -> ErrorList {
    let (path, status) = (root("status"), new.at("status"));
    let mut errors = ErrorList::new();
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    for key in ["replicas"].into_iter().chain(parts).chain(["observedGeneration", "terminatingReplicas"]) {
        check::not_negative(status, &path, key, &mut errors);
    }
    at_most(status, &parts, "replicas", "cannot be greater than status.replicas", &mut errors);
    let detail = "cannot be greater than readyReplicas";
    at_most(status, &["availableReplicas"], "readyReplicas", detail, &mut errors);
    errors
}

/// None of these counts of a status may be above that one.
pub(crate) fn at_most(status: &Value, keys: &[&str], all: &str, detail: &str, errors: &mut ErrorList) {
    let count = |key: &str| status.number(key).unwrap_or_default();
    for key in keys {
        if count(key) > count(all) {
            errors.push(Error::invalid(&root("status").child(key), count(key), detail));
        }
    }
}

/// Warnings about an accepted set, or another object that names pods after itself.
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
    if old.is_none_or(|old| new.at("spec.template") != old.at("spec.template")) {
        warnings.extend(pod_spec::warnings::spec(new.at("spec.template.spec"), "spec.template.spec"));
    }
    warnings
}
