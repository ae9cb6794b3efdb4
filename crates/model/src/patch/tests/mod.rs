//! Tests of patches.
//!
//! `upstream.json` holds objects and strategic merge patches with what upstream's own implementation
//! (`strategicpatch` of `k8s.io/apimachinery` v0.37) made of them: the result or the error.

mod json;
mod properties;
mod removals;

use serde_json::{Value, json};

use super::{PatchError, strategic};
use crate::status::Reason;

fn definition_of(kind: &str) -> String {
    match kind {
        "StatefulSet" => "io.k8s.api.apps.v1.StatefulSet".to_owned(),
        other => format!("io.k8s.api.core.v1.{other}"),
    }
}

#[test]
fn strategic_patches_have_the_effect_that_upstream_gives_them() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("upstream.json")).expect("JSON");
    assert!(cases.len() > 130);
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let definition = definition_of(case["kind"].as_str().expect("a kind"));
        match strategic(&case["original"], &case["patch"], &definition) {
            Ok(result) => assert_eq!(Some(&result), case.get("result"), "{name}: {:?}", case.get("error")),
            Err(error) => assert_eq!(Some(error.to_string().as_str()), case["error"].as_str(), "{name}"),
        }
    }
}

#[test]
fn a_kind_without_a_definition_takes_no_strategic_patch() {
    let error = strategic(&json!({}), &json!({}), "io.example.Thing").expect_err("unsupported");
    assert_eq!(error, PatchError::Unsupported);
    assert_eq!(error.status().reason, Reason::UnsupportedMediaType);
}

#[test]
fn what_is_no_object_is_refused() {
    let pod = "io.k8s.api.core.v1.Pod";
    assert_eq!(strategic(&json!({}), &json!([]), pod), Err(PatchError::NotAnObject));
    assert_eq!(strategic(&json!({}), &json!("x"), pod), Err(PatchError::NotAnObject));
}

#[test]
fn directives_inside_a_new_item_are_dropped() {
    let original = json!({ "spec": { "containers": [{ "name": "a" }] } });
    let patch = json!({ "spec": { "containers": [{
        "name": "b", "image": null, "$setElementOrder/env": [{ "name": "X" }], "env": [{ "name": "X" }],
    }] } });
    let result = strategic(&original, &patch, "io.k8s.api.core.v1.Pod").expect("applies");
    assert_eq!(
        result,
        json!({ "spec": { "containers": [{ "name": "b", "env": [{ "name": "X" }] }, { "name": "a" }] } })
    );
}

#[test]
fn any_data_merges_without_a_definition() {
    let original = json!({ "data": { "spec": { "list": [1, 2], "keep": 1 } }, "revision": 1 });
    let patch = json!({ "data": { "spec": { "list": [3] } } });
    let result = strategic(&original, &patch, "io.k8s.api.apps.v1.ControllerRevision").expect("applies");
    assert_eq!(result, json!({ "data": { "spec": { "list": [3], "keep": 1 } }, "revision": 1 }));
}

#[test]
fn a_merge_patch_merges_objects_and_removes_by_null() {
    let mut value = json!({ "a": { "b": 1, "c": 2 }, "d": [1] });
    super::merge(&mut value, &json!({ "a": { "b": null, "e": { "f": null } }, "d": [2] }));
    assert_eq!(value, json!({ "a": { "c": 2, "e": {} }, "d": [2] }));
}
