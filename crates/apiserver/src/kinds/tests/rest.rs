//! The smaller kinds.

use serde_json::{Value, json};

use super::{MADE, created, defaulted, errors, kind, row, update_errors, with};

fn named(object: &Value) -> Value {
    with(&json!({"metadata": {"name": "x", "namespace": "default", "creationTimestamp": MADE}}), object)
}

#[test]
fn a_secrets_texts_become_data_and_never_show_in_errors() {
    let secrets = kind("", "Secret");
    let object = created(secrets, named(&json!({"stringData": {"a": "hello"}, "data": {"b": "eA=="}})));
    assert_eq!(object["data"], json!({"a": "aGVsbG8=", "b": "eA=="}));
    assert_eq!(object.get("stringData"), None);
    assert_eq!(object["type"], "Opaque");
    assert_eq!(row(secrets, &object), ["x", "Opaque", "2", "120m"]);
    let table: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({"type": "kubernetes.io/tls"}),
            vec!["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": "u"}}), vec![]),
        (
            json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "hunter2"}}),
            vec![
                r#"data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid JSON at line 1 column 1"#,
            ],
        ),
    ];
    for (object, expected) in table {
        assert_eq!(errors(secrets, named(&object)), expected, "{object}");
    }
    assert_eq!(
        update_errors(secrets, named(&json!({"type": "a/b"})), named(&json!({"type": "a/c"}))),
        [r#"type: Invalid value: "a/c": field is immutable"#]
    );
}

#[test]
fn a_config_map_has_good_keys_a_bounded_size_and_may_be_frozen() {
    let maps = kind("", "ConfigMap");
    let bad = errors(maps, named(&json!({"data": {"a/b": "x"}})));
    assert_eq!(bad.len(), 1);
    assert!(
        bad[0].starts_with(r#"data[a/b]: Invalid value: "a/b": a valid config key must consist of"#),
        "{bad:?}"
    );
    assert_eq!(
        errors(maps, named(&json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}))),
        [r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#]
    );
    let large = named(&json!({"data": {"a": "x".repeat(1024 * 1024 + 1)}}));
    assert_eq!(errors(maps, large), ["[]: Too long: may not be more than 1048576 bytes"]);
    let frozen = named(&json!({"immutable": true, "data": {"a": "1"}}));
    assert_eq!(
        update_errors(maps, frozen, named(&json!({"data": {"a": "2"}}))),
        [
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ]
    );
    let both = named(&json!({"data": {"a": "1"}, "binaryData": {"b": "eA=="}}));
    assert_eq!(row(maps, &both), ["x", "2", "120m"]);
}

#[test]
fn a_namespace_carries_its_name_and_its_finalizer() {
    let namespaces = kind("", "Namespace");
    let object = created(namespaces, json!({"metadata": {"name": "a", "creationTimestamp": MADE}}));
    assert_eq!(object["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "a"}));
    assert_eq!(object["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(object["status"], json!({"phase": "Active"}));
    assert_eq!(row(namespaces, &object), ["a", "Active", "120m"]);
    let mut stripped = with(&object, &json!({"spec": {"finalizers": null}}));
    namespaces.strategy.prepare_update(&mut stripped, &object);
    assert_eq!(stripped["spec"], object["spec"], "finalizers go through /finalize only");
}

#[test]
fn a_nodes_row_and_rules() {
    let nodes = kind("", "Node");
    let object = json!({
        "metadata": {"name": "n1", "creationTimestamp": MADE, "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian", "kernelVersion": "6.1",
                         "containerRuntimeVersion": "ordinal://0.1"},
        },
    });
    assert_eq!(
        row(nodes, &object),
        [
            "n1",
            "Ready,SchedulingDisabled",
            "control-plane",
            "120m",
            "v1.37.0",
            "10.0.0.1",
            "<none>",
            "Debian",
            "6.1",
            "ordinal://0.1"
        ]
    );
    assert_eq!(
        errors(nodes, json!({"spec": {"taints": [{"key": "a", "effect": "Never"}]}})),
        [
            r#"spec.taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule""#
        ]
    );
    assert_eq!(
        update_errors(
            nodes,
            json!({"spec": {"podCIDRs": ["10.1.0.0/24"]}}),
            json!({"spec": {"podCIDRs": ["10.2.0.0/24"]}})
        ),
        [r#"spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid"#]
    );
    let registered = created(nodes, object);
    assert!(registered["status"]["nodeInfo"].is_object(), "an agent registers its node with its status");
}

#[test]
fn events_of_both_groups_make_the_same_row() {
    let core = named(&json!({
        "involvedObject": {"kind": "Pod", "name": "web-0", "namespace": "default", "fieldPath": "spec.containers{a}"},
        "type": "Normal", "reason": "Started", "message": " Started container \n", "count": 4,
        "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2026-01-01T23:00:00Z", "lastTimestamp": "2026-01-01T23:59:55Z",
    }));
    let expected = [
        "5s",
        "Normal",
        "Started",
        "pod/web-0",
        "spec.containers{a}",
        "kubelet, n1",
        "Started container",
        "60m",
        "4",
        "x",
    ];
    assert_eq!(row(kind("", "Event"), &core), expected);
    let newer = named(&json!({
        "regarding": {"kind": "Pod", "name": "web-0", "namespace": "default", "fieldPath": "spec.containers{a}"},
        "type": "Normal", "reason": "Started", "note": "Started container", "deprecatedCount": 4,
        "deprecatedSource": {"component": "kubelet", "host": "n1"},
        "deprecatedFirstTimestamp": "2026-01-01T23:00:00Z", "deprecatedLastTimestamp": "2026-01-01T23:59:55Z",
    }));
    assert_eq!(row(kind("events.k8s.io", "Event"), &newer), expected);
}

#[test]
fn an_event_lives_where_its_object_lives() {
    let event = named(&json!({"involvedObject": {"kind": "Pod", "namespace": "other"}}));
    assert_eq!(
        errors(kind("", "Event"), event),
        [r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#]
    );
    assert_eq!(
        errors(
            kind("events.k8s.io", "Event"),
            named(&json!({"regarding": {"namespace": "default"}, "type": "Normal",
            "reportingController": "a/b", "reportingInstance": "i", "action": "Act", "reason": "R"}))
        ),
        ["eventTime: Required value"]
    );
}

#[test]
fn a_lease_has_a_positive_duration_and_a_holder_that_is_not_empty() {
    let leases = kind("coordination.k8s.io", "Lease");
    assert_eq!(
        errors(
            leases,
            named(
                &json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "holderIdentity": ""}})
            )
        ),
        [
            r#"spec.holderIdentity: Invalid value: "": must not be empty"#,
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
    assert_eq!(row(leases, &named(&json!({"spec": {"holderIdentity": "n1"}}))), ["x", "n1", "120m"]);
}

#[test]
fn a_revisions_data_never_changes() {
    let revisions = kind("apps", "ControllerRevision");
    let revision = named(&json!({
        "data": {"spec": 1},
        "revision": 3,
        "metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true}]},
    }));
    assert_eq!(row(revisions, &revision), ["x", "statefulset.apps/web", "3", "120m"]);
    assert_eq!(
        errors(revisions, named(&json!({"revision": 1}))),
        ["data: Required value: data is mandatory"]
    );
    assert_eq!(
        update_errors(revisions, revision.clone(), with(&revision, &json!({"data": {"spec": 2}}))),
        [r#"data: Invalid value: {"spec":2}: field is immutable"#]
    );
    assert_eq!(
        update_errors(revisions, revision.clone(), with(&revision, &json!({"revision": 4}))),
        Vec::<String>::new()
    );
}

#[test]
fn a_service_account_counts_its_secrets() {
    let accounts = kind("", "ServiceAccount");
    let object = defaulted(accounts, named(&json!({"secrets": [{"name": "a"}]})));
    assert_eq!(row(accounts, &object), ["x", "1", "120m"]);
}

#[test]
fn a_priority_class_keeps_its_value_and_leaves_the_systems_names_alone() {
    let classes = kind("scheduling.k8s.io", "PriorityClass");
    let class = |patch: &Value| {
        let base = json!({"metadata": {"name": "high", "creationTimestamp": MADE}, "value": 1000});
        with(&base, patch)
    };
    let object = created(classes, class(&json!({})));
    assert_eq!(object["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(row(classes, &object), ["high", "1000", "false", "120m", "PreemptLowerPriority"]);
    let system = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
    let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for \
        system use only. error:";
    for (patch, expected) in [
        (json!({"value": -5}), vec![]),
        (json!({"value": 1_000_000_000}), vec![]),
        (
            json!({"value": 1_000_000_001}),
            vec![
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000".to_owned(),
            ],
        ),
        (system("system-node-critical", 2_000_001_000), vec![]),
        (
            system("system-node-critical", 1),
            vec![format!("{reserved} value of system-node-critical PriorityClass must be 2000001000")],
        ),
        (
            system("system-mine", 1),
            vec![format!("{reserved} system-mine is not a known system priority class")],
        ),
        (
            json!({"preemptionPolicy": "Maybe"}),
            vec![
                r#"preemptionPolicy: Unsupported value: "Maybe": supported values: "Never", "PreemptLowerPriority""#
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(errors(classes, class(&patch)), expected, "{patch}");
    }
    let changed = |patch: Value| update_errors(classes, class(&json!({})), class(&patch));
    assert_eq!(changed(json!({"description": "x", "globalDefault": true})), [] as [&str; 0]);
    assert_eq!(changed(json!({"value": 7})), ["value: Forbidden: may not be changed in an update."]);
    assert_eq!(
        changed(json!({"preemptionPolicy": "Never"})),
        [r#"preemptionPolicy: Invalid value: "Never": field is immutable"#]
    );
}
