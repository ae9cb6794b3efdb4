//! JSON patches.

use serde_json::{Value, json};

use crate::patch::{COPIED_BYTES_MAX, OPERATIONS_MAX, PatchError, json as apply};
use crate::status::Reason;

fn refused(value: &Value, patch: &Value) -> PatchError {
    let mut patched = value.clone();
    let error = apply(&mut patched, patch).expect_err("refused");
    assert_eq!(&patched, value, "a refused patch changes nothing");
    error
}

#[test]
fn operations_are_carried_out_in_order() {
    let mut value = json!({ "spec": { "replicas": 3 }, "list": [1, 2] });
    let patch = json!([
        { "op": "test", "path": "/spec/replicas", "value": 3 },
        { "op": "replace", "path": "/spec/replicas", "value": 5 },
        { "op": "add", "path": "/list/-", "value": 3 },
        { "op": "copy", "from": "/list/0", "path": "/first" },
        { "op": "move", "from": "/first", "path": "/second" },
        { "op": "remove", "path": "/list/0" },
    ]);
    apply(&mut value, &patch).expect("applies");
    assert_eq!(value, json!({ "spec": { "replicas": 5 }, "list": [2, 3], "second": 1 }));
}

#[test]
fn a_failed_operation_undoes_those_before_it_and_says_which_it_was() {
    let value = json!({ "a": 1 });
    let patch = json!([{ "op": "replace", "path": "/a", "value": 2 }, { "op": "remove", "path": "/b" }]);
    let error = refused(&value, &patch);
    assert_eq!(error.to_string(), "remove operation does not apply: doc is missing path: /b: missing value");
    assert_eq!(error.status().code(), 422);
    let error = refused(&value, &json!([{ "op": "test", "path": "/a", "value": 2 }]));
    assert_eq!(error.to_string(), "testing value /a failed: test failed");
}

#[test]
fn a_test_for_null_passes_where_there_is_nothing() {
    let mut value = json!({ "a": 1 });
    apply(&mut value, &json!([{ "op": "test", "path": "/b", "value": null }])).expect("passes");
}

#[test]
fn what_is_no_json_patch_is_a_bad_request() {
    for patch in [json!({}), json!("x"), json!([{ "op": "improve", "path": "/a" }]), json!([1])] {
        assert_eq!(refused(&json!({}), &patch).status().reason, Reason::BadRequest, "{patch}");
    }
}

#[test]
fn a_patch_has_at_most_ten_thousand_operations() {
    let operations = vec![json!({ "op": "add", "path": "/a", "value": 1 }); OPERATIONS_MAX + 1];
    let error = refused(&json!({}), &Value::Array(operations));
    assert_eq!(error.to_string(), "The allowed maximum operations in a JSON patch is 10000, got 10001");
    assert_eq!(error.status().code(), 413);
}

#[test]
fn copies_cannot_double_an_object_without_end() {
    let doubling = vec![json!({ "op": "copy", "from": "/data", "path": "/data/-" }); 64];
    let error = refused(&json!({ "data": ["x".repeat(1024)] }), &Value::Array(doubling));
    assert!(error.to_string().contains(&COPIED_BYTES_MAX.to_string()), "{error}");
}

#[test]
fn moves_cannot_nest_an_object_without_end() {
    let wrap = [
        json!({ "op": "add", "path": "/w", "value": {} }),
        json!({ "op": "move", "from": "/a", "path": "/w/a" }),
        json!({ "op": "move", "from": "/w", "path": "/a" }),
    ];
    let operations: Vec<Value> = wrap.iter().cycle().take(9_999).cloned().collect();
    let error = refused(&json!({ "a": 1 }), &Value::Array(operations));
    assert_eq!(error.to_string(), "the patched object would nest deeper than 120 levels");
}
