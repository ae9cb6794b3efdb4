//! What is left out of a manifest that was applied before goes, and what others set stays.

use serde_json::{Value, json};

use crate::patch::{add_removals, strategic};

const POD: &str = "io.k8s.api.core.v1.Pod";

/// The live object after a manifest was applied over an earlier one.
fn applied(before: &Value, wanted: &Value, live: &Value) -> Value {
    let mut patch = wanted.clone();
    add_removals(before, &mut patch, POD);
    strategic(live, &patch, POD).expect("applies")
}

#[test]
fn fields_items_and_values_left_out_go_and_those_of_others_stay() {
    let before = json!({
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/one", "x/two"]},
        "spec": {"hostname": "h", "containers": [
            {"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"name": "side", "image": "i"},
        ]},
    });
    let wanted = json!({
        "metadata": {"labels": {"a": "1"}, "finalizers": ["x/one"]},
        "spec": {"containers": [{"name": "c", "image": "j", "env": [{"name": "A", "value": "1"}]}]},
    });
    let mut live = before.clone();
    live["metadata"]["labels"]["theirs"] = "3".into();
    live["metadata"]["finalizers"] = json!(["x/one", "x/two", "x/theirs"]);
    live["spec"]["containers"][0]["env"] = json!([
        {"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "THEIRS", "value": "3"},
    ]);
    live["spec"]["dnsPolicy"] = "Default".into();
    let expected = json!({
        "metadata": {"labels": {"a": "1", "theirs": "3"}, "finalizers": ["x/one", "x/theirs"]},
        "spec": {"dnsPolicy": "Default", "containers": [
            {"name": "c", "image": "j", "env": [
                {"name": "A", "value": "1"}, {"name": "THEIRS", "value": "3"},
            ]},
        ]},
    });
    assert_eq!(applied(&before, &wanted, &live), expected);
}

#[test]
fn nothing_is_added_where_nothing_was_left_out() {
    let before = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}]}});
    let mut patch = before.clone();
    add_removals(&before, &mut patch, POD);
    assert_eq!(patch, before);
}

#[test]
fn what_is_gone_already_is_no_error() {
    let before =
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c"}, {"name": "d"}]}});
    let wanted = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}});
    let live = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}});
    assert_eq!(applied(&before, &wanted, &live), live);
}
