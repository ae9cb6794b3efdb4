//! `metadata`: what the server sets, what clients may not change, and what is valid.
//!
//! Pure; knows no kind beyond its descriptor.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use model::names;
use model::status::Status;
use serde_json::{Map, Value};

use crate::kind::{Kind, NameRule};
use crate::request::Address;

/// Upstream's limit on all annotations of an object together, keys included.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Longest beginning of a generated name: 63 minus the random part.
const GENERATED_BASE_MAX: usize = 58;
/// What the random part of generated names is made of: no vowels, so no words; nothing that looks alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How much of it.
const RANDOM_CHARACTERS: usize = 5;
/// Waits for the garbage collector to delete dependents first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Waits for the garbage collector to release dependents.
pub(crate) const ORPHAN: &str = "orphan";

/// `metadata` of an object that went through [`super::intake`].
pub(crate) fn of(object: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object.get("metadata").and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// `metadata`, to be changed; made where it is missing.
pub(crate) fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["metadata"].as_object_mut().expect("was just made an object")
}

/// A string field of `metadata`; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    of(object).get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The object's finalizers.
pub(crate) fn finalizers(object: &Value) -> Vec<String> {
    of(object)
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Replaces the object's finalizers; none at all removes the field.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        of_mut(object).remove("finalizers");
    } else {
        of_mut(object).insert("finalizers".to_owned(), finalizers.into());
    }
}

/// True when a deletion has been asked for.
pub(crate) fn is_terminating(object: &Value) -> bool {
    of(object).get("deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// A time as objects carry it: whole seconds.
pub(crate) fn time(at: Timestamp) -> Value {
    let seconds = Timestamp::from_second(at.as_second()).unwrap_or(at);
    Value::from(seconds.to_string())
}

/// Counts `metadata.generation` up, where the object has one.
pub(crate) fn bump_generation(object: &mut Value) {
    if let Some(generation) = of(object).get("generation").and_then(Value::as_i64)
        && generation > 0
    {
        of_mut(object).insert("generation".to_owned(), (generation + 1).into());
    }
}

/// A name from `generateName` and random indices into an alphabet.
pub(crate) fn generated_name(base: &str, mut draw: impl FnMut(usize) -> usize) -> String {
    let mut end = base.len().min(GENERATED_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    for _ in 0..RANDOM_CHARACTERS {
        name.push(char::from(ALPHABET[draw(ALPHABET.len()) % ALPHABET.len()]));
    }
    name
}

/// Checks the body's namespace against the URL's, and fills it in.
pub(crate) fn settle_namespace(object: &mut Value, address: &Address) -> Result<(), Status> {
    let asked = text(object, "namespace").to_owned();
    if !asked.is_empty() && asked != address.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if address.kind.namespaced {
        of_mut(object).insert("namespace".to_owned(), address.namespace.as_str().into());
    } else {
        of_mut(object).remove("namespace");
    }
    Ok(())
}

/// Checks the body's name against the URL's.
pub(crate) fn check_name(object: &Value, address: &Address) -> Result<(), Status> {
    let name = text(object, "name");
    let asked = &address.name;
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({asked} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != asked {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({asked})"
        )));
    }
    Ok(())
}

/// What the server says about a new object, whatever the client said.
pub(crate) fn stamp_new(object: &mut Value, kind: &Kind, uid: String, now: Timestamp) {
    let metadata = of_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"] {
        metadata.remove(field);
    }
    metadata.remove("resourceVersion");
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), time(now));
    if kind.strategy.has_generation() {
        metadata.insert("generation".to_owned(), 1.into());
    } else {
        metadata.remove("generation");
    }
}

/// What an update may not change stays as it was. The revision is left to the caller.
pub(crate) fn carry_over(new: &mut Value, old: &Value) {
    let before = of(old).clone();
    let metadata = of_mut(new);
    for field in ["selfLink", "managedFields"] {
        metadata.remove(field);
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        match before.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

/// What is wrong with the metadata of an object.
pub(crate) fn validate(object: &Value, kind: &Kind) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    let name = text(object, "name");
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        for complaint in name_complaints(kind.name_rule, name) {
            errors.push(Error::invalid(&path.child("name"), name, complaint));
        }
    }
    let namespace = text(object, "namespace");
    if kind.namespaced {
        if namespace.is_empty() {
            errors.push(Error::required(&path.child("namespace"), ""));
        }
        for complaint in names::dns1123_label(namespace) {
            errors.push(Error::invalid(&path.child("namespace"), namespace, complaint));
        }
    }
    labels(&mut errors, object, &path.child("labels"));
    annotations(&mut errors, object, &path.child("annotations"));
    owners(&mut errors, object, &path.child("ownerReferences"));
    finalizer_names(&mut errors, object, &path.child("finalizers"));
    errors
}

fn name_complaints(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => names::dns1123_subdomain(name),
        NameRule::Label => names::dns1123_label(name),
        NameRule::Label1035 => names::dns1035_label(name),
        NameRule::PathSegment => match name {
            "." | ".." => vec![format!("may not be '{name}'")],
            other => ["/", "%"]
                .into_iter()
                .filter(|part| other.contains(part))
                .map(|part| format!("may not contain '{part}'"))
                .collect(),
        },
    }
}

fn strings<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    of(object)
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn labels(errors: &mut ErrorList, object: &Value, path: &Path) {
    for (key, value) in strings(object, "labels") {
        for complaint in names::qualified_name(key) {
            errors.push(Error::invalid(path, key.as_str(), complaint));
        }
        for complaint in names::label_value(value) {
            errors.push(Error::invalid(path, value, complaint));
        }
    }
}

fn annotations(errors: &mut ErrorList, object: &Value, path: &Path) {
    let mut bytes = 0;
    for (key, value) in strings(object, "annotations") {
        bytes += key.len() + value.len();
        for complaint in names::qualified_name(&key.to_lowercase()) {
            errors.push(Error::invalid(path, key.as_str(), complaint));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn owners(errors: &mut ErrorList, object: &Value, path: &Path) {
    let references = of(object).get("ownerReferences").and_then(Value::as_array);
    let mut controllers: Vec<String> = Vec::new();
    for (index, reference) in references.into_iter().flatten().enumerate() {
        let at = path.index(index);
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            let value = reference[field].as_str().unwrap_or_default();
            if value.is_empty() {
                errors.push(Error::invalid(&at.child(field), value, detail));
            }
        }
        if reference["controller"] == true {
            let name = |part: &str| reference[part].as_str().unwrap_or_default().to_owned();
            controllers.push(format!("{}/{}", name("kind"), name("name")));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        let value = references.cloned().unwrap_or_default();
        errors.push(Error::invalid(path, value, detail));
    }
}

fn finalizer_names(errors: &mut ErrorList, object: &Value, path: &Path) {
    let finalizers = finalizers(object);
    for finalizer in &finalizers {
        for complaint in names::qualified_name(finalizer) {
            errors.push(Error::invalid(path, finalizer.as_str(), complaint));
        }
    }
    let both = [FOREGROUND, ORPHAN].iter().all(|name| finalizers.iter().any(|own| own == name));
    if both {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(Error::invalid(path, finalizers, detail));
    }
}

/// What is wrong with the way an update changes metadata.
pub(crate) fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    for field in ["name", "namespace"] {
        if text(new, field) != text(old, field) {
            errors.push(Error::invalid(&path.child(field), text(new, field), "field is immutable"));
        }
    }
    if is_terminating(old) {
        let before: BTreeSet<String> = finalizers(old).into_iter().collect();
        let added: Vec<String> =
            finalizers(new).into_iter().filter(|finalizer| !before.contains(finalizer)).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.push(Error::forbidden(&path.child("finalizers"), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_never_outgrows_a_label() {
        let name = generated_name(&"x".repeat(80), |count| count - 1);
        assert_eq!(name.len(), 63);
        assert!(name.ends_with("99999"));
        assert_eq!(generated_name("web-", |_| 0), "web-bbbbb");
    }

    #[test]
    fn an_update_cannot_move_what_the_server_set() {
        let old = serde_json::json!({"metadata": {"uid": "1", "creationTimestamp": "t", "generation": 3}});
        let mut new =
            serde_json::json!({"metadata": {"uid": "2", "deletionTimestamp": "now", "selfLink": "/x"}});
        carry_over(&mut new, &old);
        assert_eq!(new, old);
    }
}
