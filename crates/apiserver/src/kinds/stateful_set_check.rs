//! What a StatefulSet must be, and what may change about it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::field::{Error, ErrorList, Path};
use model::selector::Selector;
use model::stateful_set::{Extra, Reserved};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::check::{self, root};
use super::pod_spec;
use super::read::{self, Read};
use super::{stateful_set_claims, volume_check};

/// What an update may change, in the words clients know.
const UPDATABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
    'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
    'minReadySeconds' are forbidden";

/// The fields that [`UPDATABLE`] names, and those that only we have.
const UPDATABLE_FIELDS: [&str; 9] = [
    "reserveOrdinals",
    "volumeClaimUpdateStrategy",
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

const CLAIMS: &str = "volumeClaimTemplates";

/// Longest that a revision's name is beyond its set's: a dash and ten characters for 32 bits.
const REVISION_SUFFIX_MAX: usize = 11;

/// A new set.
pub(crate) fn create(object: &Value) -> ErrorList {
    let name = object.text("metadata.name");
    // Pods are named after the set and carry that name in a label: it has to be a label's length.
    let messages = model::names::dns1123_label(name);
    let mut errors = check::each(&root("metadata.name"), name, messages);
    if errors.is_empty() {
        errors.extend(names_of_pods(object));
    }
    errors.extend(annotations(object));
    errors.extend(spec(object.at("spec")));
    let service = object.text("spec.serviceName");
    if !service.is_empty() {
        let messages = model::names::dns1123_label(service);
        errors.extend(check::each(&root("spec.serviceName"), service, messages));
    }
    errors.extend(template_spec(object.at("spec")));
    errors.extend(stateful_set_claims::templates(object.at("spec")));
    errors
}

/// An update of the set.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let (new_spec, old_spec) = (new.at("spec"), old.at("spec"));
    let mut errors = spec(new_spec);
    errors.extend(annotations(new));
    // A set that is too long for its pods already may still be scaled down or mended.
    if names_of_pods(old).is_empty() {
        errors.extend(names_of_pods(new));
    }
    // A template that was wrong before must not keep the set from being scaled or repaired.
    if template_spec(old_spec).is_empty() {
        errors.extend(template_spec(new_spec));
    }
    let mut munged = new_spec.clone();
    let claims = stateful_set_claims::update(&mut munged, new_spec, old_spec);
    if claims.is_empty() && !check::same(new_spec.at(CLAIMS), old_spec.at(CLAIMS)) {
        errors.extend(stateful_set_claims::templates(new_spec));
    }
    for field in UPDATABLE_FIELDS {
        read::keep(&mut munged, old_spec, field);
    }
    if !check::same(&munged, old_spec) {
        errors.push(Error::forbidden(&root("spec"), UPDATABLE));
    }
    errors.extend(claims);
    errors
}

/// Pods carry their own name and the name of their revision in labels: one that does not fit would never be
/// made, so that the set is refused instead (upstream accepts it and fails for each pod). An ordinal takes no
/// more than a revision's hash.
fn names_of_pods(object: &Value) -> ErrorList {
    let name = object.text("metadata.name");
    let mut errors = ErrorList::new();
    let longest = model::names::LABEL_BYTES_MAX - REVISION_SUFFIX_MAX;
    if name.len() > longest {
        let detail = format!(
            "must be no more than {longest} characters: pods carry it with a revision's hash in a label"
        );
        errors.push(Error::invalid(&root("metadata.name"), name, detail));
    }
    errors
}

/// Our own annotations, as strictly as fields: one that is not understood must not be ignored.
fn annotations(object: &Value) -> ErrorList {
    let texts = object.entries("metadata.annotations");
    let texts = texts.map(|(key, value)| (key, value.as_str().unwrap_or_default()));
    match Extra::default().read_annotations(texts) {
        Ok(()) => ErrorList::new(),
        Err(error) => {
            let value = object.at("metadata.annotations")[error.key.as_str()].clone();
            vec![Error::invalid(&root("metadata.annotations").key(&error.key), value, error.detail)]
        }
    }
}

/// The spec without what pods and claims say themselves.
fn spec(spec: &Value) -> ErrorList {
    let path = root("spec");
    let mut errors = ErrorList::new();
    match spec.text("podManagementPolicy") {
        "" => errors.push(Error::required(&path.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(Error::invalid(&path.child("podManagementPolicy"), other, detail));
        }
    }
    errors.extend(update_strategy(spec.at("updateStrategy"), &path.child("updateStrategy")));
    errors.extend(stateful_set_claims::update_strategy(spec));
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        check::one_of_if_set(retention, &path, key, &["Retain", "Delete"], &mut errors);
    }
    check::not_negative(spec, &path, "replicas", &mut errors);
    check::not_negative(spec, &path, "minReadySeconds", &mut errors);
    check::not_negative(spec, &path, "ordinals.start", &mut errors);
    if let Err((index, detail)) = Reserved::parse(spec.list("reserveOrdinals")) {
        let bad = spec.list("reserveOrdinals").get(index).cloned().unwrap_or_default();
        errors.push(Error::invalid(&path.child("reserveOrdinals").index(index), bad, detail));
    }
    errors.extend(selector(spec, &path));
    let policy = spec.text("template.spec.restartPolicy");
    if policy != "Always" {
        let path = path.child("template.spec.restartPolicy");
        errors.push(Error::not_supported(&path, policy, &["Always"]));
    }
    if spec.has("template.spec.activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in StatefulSet is not Supported";
        errors.push(Error::forbidden(&path.child("template.spec.activeDeadlineSeconds"), detail));
    }
    errors
}

fn update_strategy(strategy: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let rolling = strategy.at("rollingUpdate");
    let at = path.child("rollingUpdate");
    match strategy.text("type") {
        "" => errors.push(Error::required(path, "")),
        "OnDelete" | "Recreate" if !rolling.is_null() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(Error::invalid(&at, rolling.clone(), detail));
        }
        "OnDelete" | "Recreate" => {}
        "RollingUpdate" => {
            check::not_negative(rolling, &at, "partition", &mut errors);
            errors.extend(max_unavailable(rolling.at("maxUnavailable"), &at.child("maxUnavailable")));
        }
        _ => {
            let detail = "must be 'RollingUpdate', 'OnDelete' or 'Recreate'";
            errors.push(Error::invalid(path, strategy.clone(), detail));
        }
    }
    errors
}

fn max_unavailable(value: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut amount = value.as_i64();
    if let Some(text) = value.as_str() {
        errors.extend(check::each(path, text, model::names::percent(text)));
        amount = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
        if amount.is_some_and(|percent| percent > 100) {
            errors.push(Error::invalid(path, text, "must not be greater than 100%"));
        }
    }
    match amount {
        Some(0) => errors.push(Error::invalid(path, value.clone(), "cannot be 0")),
        Some(amount) if amount < 0 => {
            errors.push(Error::invalid(path, value.clone(), check::NOT_NEGATIVE));
        }
        _ => {}
    }
    errors
}

/// The selector must select something, and the template's pods.
fn selector(spec: &Value, path: &Path) -> ErrorList {
    let selector = spec.at("selector");
    let at = path.child("selector");
    if selector.is_null() {
        return vec![Error::required(&at, "")];
    }
    let mut errors = check::label_selector(selector, &at);
    let empty = selector.entries("matchLabels").next().is_none();
    if empty && selector.list("matchExpressions").is_empty() {
        let detail = "empty selector is invalid for statefulset";
        errors.push(Error::invalid(&at, selector.clone(), detail));
        return errors;
    }
    let labels = spec.at("template.metadata.labels");
    let template = path.child("template");
    errors.extend(check::labels(labels, &template.child("labels")));
    let annotations = spec.at("template.metadata.annotations");
    errors.extend(check::annotations(annotations, &template.child("annotations")));
    let parsed = LabelSelector::deserialize(selector).map_err(|error| error.to_string());
    match parsed.and_then(|selector| Selector::from_label_selector(&selector)) {
        Ok(selector) => {
            let labels_of_pods: BTreeMap<String, String> = spec
                .entries("template.metadata.labels")
                .map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            if !selector.matches(&labels_of_pods) {
                let bad = if labels.is_null() { json!({}) } else { labels.clone() };
                let detail = "`selector` does not match template `labels`";
                errors.push(Error::invalid(&template.child("metadata.labels"), bad, detail));
            }
        }
        Err(detail) if errors.is_empty() => {
            errors.push(Error::invalid(&at, selector.clone(), detail));
        }
        Err(_) => {}
    }
    errors
}

/// The template's pod, with the volumes that its claims will give it.
fn template_spec(spec: &Value) -> ErrorList {
    let mut pod = spec.at("template.spec").clone();
    if !pod.is_object() {
        return ErrorList::new();
    }
    let mut volumes = pod.list("volumes").to_vec();
    for claim in spec.list("volumeClaimTemplates") {
        let name = claim.text("metadata.name");
        if name.is_empty() || volumes.iter().any(|volume| volume.text("name") == name) {
            // The claim takes the place of a volume of its name.
            continue;
        }
        volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    }
    if !volumes.is_empty() {
        read::set(&mut pod, "volumes", volumes);
    }
    let mut errors = pod_spec::check::spec(&pod, &root("spec.template.spec"));
    // Said once already, about StatefulSets.
    let once = ["spec.template.spec.restartPolicy", "spec.template.spec.activeDeadlineSeconds"];
    errors.retain(|error| !once.contains(&error.path.to_string().as_str()));
    errors
}

/// An update of its status.
pub(crate) fn status_update(new: &Value, old: &Value) -> ErrorList {
    let path = root("status");
    let status = new.at("status");
    let count = |key: &str| status.number(key).unwrap_or_default();
    let mut errors = ErrorList::new();
    let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    for key in counts.into_iter().chain(["observedGeneration", "collisionCount"]) {
        check::not_negative(status, &path, key, &mut errors);
    }
    for key in &counts[1..] {
        if count(key) > count("replicas") {
            let detail = "cannot be greater than status.replicas";
            errors.push(Error::invalid(&path.child(key), count(key), detail));
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        let detail = "cannot be greater than status.readyReplicas";
        errors.push(Error::invalid(&path.child("availableReplicas"), count("availableReplicas"), detail));
    }
    let collisions = old.number("status.collisionCount");
    if collisions.is_some_and(|old| count("collisionCount") < old) {
        let detail = "cannot be decremented";
        errors.push(Error::invalid(&path.child("collisionCount"), count("collisionCount"), detail));
    }
    errors
}

/// Warnings about an accepted set.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let spec = object.at("spec");
    let mut warnings = pod_spec::warnings::spec(spec.at("template.spec"), "spec.template.spec");
    for (index, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
        let path = format!("spec.volumeClaimTemplates[{index}].spec");
        warnings.extend(volume_check::claim_warnings(claim.at("spec"), &path));
    }
    if spec.number("revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        warnings.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
             recommended"
                .to_owned(),
        );
    }
    warnings
}
