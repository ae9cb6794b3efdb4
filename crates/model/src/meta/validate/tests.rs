//! Metadata that is refused, and why.

use serde_json::json;

use super::*;

fn meta(value: Value) -> ObjectMeta {
    serde_json::from_value(value).expect("metadata")
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(Error::to_string).collect()
}

fn created(value: Value, namespaced: bool) -> Vec<String> {
    let path = Path::new("metadata");
    texts(&validate_object_meta(&meta(value), namespaced, names::name_is_dns_subdomain, &path))
}

fn updated(new: Value, old: Value) -> Vec<String> {
    texts(&validate_object_meta_update(&meta(new), &meta(old), &Path::new("metadata")))
}

#[test]
fn a_new_object_has_a_name_and_stands_where_its_kind_does() {
    assert_eq!(created(json!({ "name": "a", "namespace": "b" }), true), Vec::<String>::new());
    assert_eq!(
        created(json!({}), true),
        [
            "metadata.name: Required value: name or generateName is required",
            "metadata.namespace: Required value",
        ]
    );
    assert_eq!(
        created(json!({ "name": "a", "namespace": "b", "generation": -1 }), false),
        [
            "metadata.namespace: Forbidden: not allowed on this type",
            "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}

#[test]
fn labels_annotations_and_finalizers_are_checked() {
    let errors = created(
        json!({
            "name": "a",
            "labels": { "app": "-bad" },
            "annotations": { "UPPER.example/Key": "ok", "a b": "" },
            "finalizers": ["orphan", "foregroundDeletion", "a b"],
        }),
        false,
    );
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors[0].starts_with("metadata.labels: Invalid value: \"-bad\": a valid label must be"));
    assert!(errors[1].starts_with("metadata.annotations: Invalid value: \"a b\": name part must consist"));
    assert!(errors[2].starts_with("metadata.finalizers: Invalid value: \"a b\""));
    assert!(errors[3].ends_with("finalizer orphan and foregroundDeletion cannot be both set"));
}

#[test]
fn annotations_together_are_at_most_256_kib() {
    let full = "x".repeat(ANNOTATIONS_BYTES_MAX - 1);
    assert!(created(json!({ "name": "a", "annotations": { "k": full } }), false).is_empty());
    let over = "x".repeat(ANNOTATIONS_BYTES_MAX);
    assert_eq!(
        created(json!({ "name": "a", "annotations": { "k": over } }), false),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
}

#[test]
fn owners_are_named_in_full_and_one_controls() {
    let whole = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u",
        "controller": true });
    assert!(created(json!({ "name": "a", "ownerReferences": [whole] }), false).is_empty());
    let empty = json!({ "apiVersion": "", "kind": "", "name": "", "uid": "" });
    assert_eq!(
        created(json!({ "name": "a", "ownerReferences": [empty] }), false),
        [
            "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
            "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.name: Invalid value: \"\": must not be empty",
            "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
        ]
    );
    let errors = created(json!({ "name": "a", "ownerReferences": [whole, whole] }), false);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].ends_with(
        "Only one reference can have Controller set to true. Found \"true\" in references for \
         StatefulSet/web and StatefulSet/web"
    ));
    let event = json!({ "apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u" });
    let errors = created(json!({ "name": "a", "ownerReferences": [event] }), false);
    assert!(errors[0].ends_with("/v1, Kind=Event is disallowed from being an owner"));
}

#[test]
fn identity_does_not_change() {
    let old = json!({ "name": "a", "namespace": "n", "uid": "u1", "resourceVersion": "1", "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z" });
    assert!(updated(old.clone(), old.clone()).is_empty());
    let new = json!({ "name": "b", "namespace": "m", "uid": "u2", "generation": 2,
        "deletionGracePeriodSeconds": 5 });
    assert_eq!(
        updated(new, old),
        [
            "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
            "metadata.generation: Invalid value: 2: must not be decremented",
            "metadata.name: Invalid value: \"b\": field is immutable",
            "metadata.namespace: Invalid value: \"m\": field is immutable",
            "metadata.uid: Invalid value: \"u2\": field is immutable",
            "metadata.creationTimestamp: Invalid value: null: field is immutable",
            "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable",
        ]
    );
}

#[test]
fn no_finalizer_is_added_to_an_object_being_deleted() {
    let old = json!({ "name": "a", "uid": "u", "resourceVersion": "1", "finalizers": ["x/old"],
        "deletionTimestamp": "2026-01-01T00:00:00Z" });
    let mut new = old.clone();
    new["finalizers"] = json!([]);
    assert!(updated(new.clone(), old.clone()).is_empty());
    new["finalizers"] = json!(["x/old", "x/b", "x/a"]);
    assert_eq!(
        updated(new, old),
        ["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
          found new finalizers []string{\"x/a\", \"x/b\"}"]
    );
}
