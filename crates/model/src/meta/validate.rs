//! What every object's metadata must satisfy, on create and on update.
//!
//! Paths, texts and order of the errors are upstream's (`apimachinery/pkg/api/validation`). What a kind
//! wants beyond this belongs to the kind.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use serde_json::Value;

use super::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN, has_finalizer};
use crate::field::{Error, ErrorList, Path};
use crate::names::{self, NameRule};

/// Keys and values of all annotations of one object together: 256 KiB.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The text for a field that changed but may not.
pub const IMMUTABLE: &str = "field is immutable";

/// Checks the metadata of a new object. `path` is `metadata`; `name_rule` is the kind's own.
pub fn validate_object_meta(
    meta: &ObjectMeta,
    namespaced: bool,
    name_rule: NameRule,
    path: &Path,
) -> ErrorList {
    let mut errors = ErrorList::new();
    let generate_name = meta.generate_name.as_deref().unwrap_or_default();
    if !generate_name.is_empty() {
        let path = path.child("generateName");
        errors.extend(
            name_rule(generate_name, true).iter().map(|text| Error::invalid(&path, generate_name, text)),
        );
    }
    let name = meta.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        let path = path.child("name");
        errors.extend(name_rule(name, false).iter().map(|text| Error::invalid(&path, name, text)));
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let namespace_path = path.child("namespace");
    if namespaced && namespace.is_empty() {
        errors.push(Error::required(&namespace_path, ""));
    } else if namespaced {
        let texts = names::dns1123_label(namespace);
        errors.extend(texts.iter().map(|text| Error::invalid(&namespace_path, namespace, text)));
    } else if !namespace.is_empty() {
        errors.push(Error::forbidden(&namespace_path, "not allowed on this type"));
    }
    if let Some(generation) = meta.generation.filter(|generation| *generation < 0) {
        errors.push(Error::invalid(&path.child("generation"), generation, names::NEGATIVE));
    }
    errors.extend(validate_shared(meta, path));
    errors.extend(validate_finalizers(meta, &path.child("finalizers")));
    errors
}

/// Checks the metadata of an object against what it was before. A missing `resourceVersion` is an error
/// here: whoever allows unconditional updates fills it in before.
pub fn validate_object_meta_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        errors.extend(validate_no_new_finalizers(new, old, &path.child("finalizers")));
    }
    if new.resource_version.as_deref().unwrap_or_default().is_empty() {
        errors.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    let generation = new.generation.unwrap_or_default();
    if generation < old.generation.unwrap_or_default() {
        errors.push(Error::invalid(&path.child("generation"), generation, "must not be decremented"));
    }
    errors.extend(immutable(&new.name, &old.name, &path.child("name")));
    errors.extend(immutable(&new.namespace, &old.namespace, &path.child("namespace")));
    errors.extend(immutable(&new.uid, &old.uid, &path.child("uid")));
    let stamp = path.child("creationTimestamp");
    errors.extend(immutable(&new.creation_timestamp, &old.creation_timestamp, &stamp));
    let stamp = path.child("deletionTimestamp");
    errors.extend(immutable(&new.deletion_timestamp, &old.deletion_timestamp, &stamp));
    let grace = path.child("deletionGracePeriodSeconds");
    errors.extend(immutable(&new.deletion_grace_period_seconds, &old.deletion_grace_period_seconds, &grace));
    errors.extend(validate_shared(new, path));
    errors
}

/// An error when `new` differs from `old`.
pub fn immutable<T: PartialEq + Serialize>(new: &T, old: &T, path: &Path) -> Option<Error> {
    let shown = || serde_json::to_value(new).unwrap_or(Value::Null);
    (new != old).then(|| Error::invalid(path, shown(), IMMUTABLE))
}

fn validate_shared(meta: &ObjectMeta, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(labels) = &meta.labels {
        errors.extend(validate_labels(labels, &path.child("labels")));
    }
    if let Some(annotations) = &meta.annotations {
        errors.extend(validate_annotations(annotations, &path.child("annotations")));
    }
    if let Some(owners) = &meta.owner_references {
        errors.extend(validate_owner_references(owners, &path.child("ownerReferences")));
    }
    errors
}

/// Checks keys and values of labels.
pub fn validate_labels(labels: &BTreeMap<String, String>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels {
        errors.extend(validate_label_name(key, path));
        let texts = names::label_value(value);
        errors.extend(texts.iter().map(|text| Error::invalid(path, value.as_str(), text)));
    }
    errors
}

/// Checks the key of a label.
pub fn validate_label_name(key: &str, path: &Path) -> ErrorList {
    names::qualified_name(key).iter().map(|text| Error::invalid(path, key, text)).collect()
}

/// Checks keys of annotations, and the size of all together.
pub fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in annotations.keys() {
        // Case is free for annotations: old ones have upper case prefixes.
        let texts = names::qualified_name(&key.to_lowercase());
        errors.extend(texts.iter().map(|text| Error::invalid(path, key.as_str(), text)));
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

/// Checks that each owner is named in full, and that at most one is the controller.
pub fn validate_owner_references(owners: &[OwnerReference], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<String> = None;
    for owner in owners {
        errors.extend(validate_owner_reference(owner, path));
        if owner.controller == Some(true) {
            let current = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references \
                         for {first} and {current}"
                    );
                    let shown = serde_json::to_value(owners).unwrap_or(Value::Null);
                    errors.push(Error::invalid(path, shown, detail));
                }
                None => controller = Some(current),
            }
        }
    }
    errors
}

fn validate_owner_reference(owner: &OwnerReference, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let version = owner.api_version.rsplit('/').next().unwrap_or_default();
    if version.is_empty() || owner.api_version.matches('/').count() > 1 {
        let path = path.child("apiVersion");
        errors.push(Error::invalid(&path, owner.api_version.as_str(), "version must not be empty"));
    }
    for (field, text) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
        if text.is_empty() {
            errors.push(Error::invalid(&path.child(field), text.as_str(), "must not be empty"));
        }
    }
    if owner.api_version == "v1" && owner.kind == "Event" {
        let shown = serde_json::to_value(owner).unwrap_or(Value::Null);
        let detail = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(Error::invalid(path, shown, detail));
    }
    errors
}

/// Checks the names of finalizers, and that the two ways of deleting dependents are not both asked for.
pub fn validate_finalizers(meta: &ObjectMeta, path: &Path) -> ErrorList {
    let Some(finalizers) = &meta.finalizers else { return ErrorList::new() };
    let mut errors = ErrorList::new();
    for finalizer in finalizers {
        let texts = names::qualified_name(finalizer);
        errors.extend(texts.iter().map(|text| Error::invalid(path, finalizer.as_str(), text)));
    }
    if has_finalizer(meta, FINALIZER_ORPHAN) && has_finalizer(meta, FINALIZER_FOREGROUND) {
        let detail = format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set");
        errors.push(Error::invalid(path, finalizers.clone(), detail));
    }
    errors
}

fn validate_no_new_finalizers(new: &ObjectMeta, old: &ObjectMeta, path: &Path) -> Option<Error> {
    let set = |meta: &ObjectMeta| -> BTreeSet<String> { meta.finalizers.iter().flatten().cloned().collect() };
    let added: Vec<String> = set(new).difference(&set(old)).map(|one| format!("{one:?}")).collect();
    if added.is_empty() {
        return None;
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    Some(Error::forbidden(path, detail))
}

#[cfg(test)]
mod tests;
