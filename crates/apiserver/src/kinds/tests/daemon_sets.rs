//! DaemonSets: defaults, refusals, rows.

use serde_json::{Value, json};

use super::{MADE, created, errors, kind, row, update_errors, with};

fn set(spec: &Value) -> Value {
    let base = json!({
        "metadata": { "name": "x", "namespace": "default", "creationTimestamp": MADE },
        "spec": {
            "selector": { "matchLabels": { "app": "x" } },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "containers": [{ "name": "c", "image": "i:1" }] },
            },
        },
    });
    with(&base, &json!({ "spec": spec }))
}

#[test]
fn a_daemon_set_gets_its_defaults_and_counts_its_templates() {
    let sets = kind("apps", "DaemonSet");
    let object = created(sets, set(&json!({})));
    let rolling = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } });
    assert_eq!(object["spec"]["updateStrategy"], rolling);
    assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(object["status"]["desiredNumberScheduled"], 0);
    let generation = |object: &Value| {
        object["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone()
    };
    assert_eq!(generation(&object), "1");
    let mut changed =
        with(&object, &json!({ "spec": { "template": { "metadata": { "labels": { "b": "c" } } } } }));
    sets.strategy.prepare_update(&mut changed, &object);
    assert_eq!(generation(&changed), "2");
    let mut patient = with(&object, &json!({ "spec": { "minReadySeconds": 5 } }));
    sets.strategy.prepare_update(&mut patient, &object);
    assert_eq!(generation(&patient), "1");
}

#[test]
fn what_a_daemon_set_may_not_be_is_refused_in_upstreams_words() {
    let sets = kind("apps", "DaemonSet");
    let rolling = |value: Value| json!({ "updateStrategy": { "rollingUpdate": value } });
    let table: Vec<(Value, &str)> = vec![
        (
            json!({ "template": { "spec": { "restartPolicy": "Never" } } }),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            json!({ "template": { "spec": { "activeDeadlineSeconds": 5 } } }),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not \
             Supported",
        ),
        (
            rolling(json!({ "maxSurge": 1 })),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable \
             is non-zero",
        ),
        (
            rolling(json!({ "maxUnavailable": 0 })),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            rolling(json!({ "maxUnavailable": "101%" })),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater \
             than 100%",
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(errors(sets, set(&spec)), [expected], "{spec}");
    }
    let empty = errors(sets, set(&json!({ "selector": { "matchLabels": null } })));
    assert!(empty[0].ends_with("empty selector is invalid for daemonset"), "{empty:?}");
    let other = json!({ "selector": { "matchLabels": { "app": "y" } } });
    assert!(errors(sets, set(&other))[0].contains("`selector` does not match template `labels`"));
    let moved = json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "Exists" }] } });
    let found = update_errors(sets, set(&json!({})), set(&moved));
    assert!(found[0].ends_with(": field is immutable"), "{found:?}");
    let surge = rolling(json!({ "maxUnavailable": 0, "maxSurge": "50%" }));
    assert_eq!(errors(sets, set(&surge)), Vec::<String>::new());
    assert_eq!(errors(sets, set(&json!({ "updateStrategy": { "type": "OnDelete" } }))), Vec::<String>::new());
}

#[test]
fn rows_of_daemon_sets_count_nodes() {
    let sets = kind("apps", "DaemonSet");
    let object = created(sets, set(&json!({ "template": { "spec": { "nodeSelector": { "a": "b" } } } })));
    let status = json!({ "desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1 });
    let cells = row(sets, &with(&object, &json!({ "status": status })));
    assert_eq!(cells[..8], ["x", "3", "2", "1", "0", "0", "a=b", "120m"]);
    assert_eq!(row(sets, &created(sets, set(&json!({}))))[6], "<none>");
}
