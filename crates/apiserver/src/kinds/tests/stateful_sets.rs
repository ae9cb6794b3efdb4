//! StatefulSets: what is filled in, what is refused, what may change.

use serde_json::{Value, json};

use super::{MADE, created, errors, kind, row, update_errors, with};

fn set() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "creationTimestamp": MADE},
        "spec": {
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "a", "image": "nginx:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }]},
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    })
}

#[test]
fn a_set_gets_its_defaults_and_its_templates_theirs() {
    let object = created(kind("apps", "StatefulSet"), set());
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["podManagementPolicy"], "OrderedReady");
    assert_eq!(spec["updateStrategy"], json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(spec["template"]["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(spec["template"]["spec"].get("enableServiceLinks"), None);
    assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
    assert_eq!(spec["volumeClaimTemplates"][0]["status"]["phase"], "Pending");
    assert_eq!(errors(kind("apps", "StatefulSet"), set()), Vec::<String>::new());
}

#[test]
fn bad_sets_are_refused_with_upstreams_words() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (json!({"spec": {"selector": null}}), vec!["spec.selector: Required value"]),
        (
            json!({"spec": {"selector": {"matchLabels": {"app": "db"}}}}),
            vec![
                r#"spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`"#,
            ],
        ),
        (
            json!({"spec": {"selector": {"matchLabels": null}}}),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
        ),
        (
            json!({"spec": {"replicas": -1}}),
            vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({"spec": {"ordinals": {"start": -1}}}),
            vec!["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
            vec![
                r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
            ],
        ),
        (
            json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
            vec![
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not \
                 Supported",
            ],
        ),
        (
            json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}}),
            vec![
                r#"spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for updateStrategy 'RollingUpdate'"#,
            ],
        ),
        (
            json!({"spec": {"podManagementPolicy": "Wild"}}),
            vec![r#"spec.podManagementPolicy: Invalid value: "Wild": must be 'OrderedReady' or 'Parallel'"#],
        ),
        (
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}}),
            vec!["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"],
        ),
        (
            json!({"spec": {"volumeClaimTemplates": null}}),
            vec![r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(errors(kind("apps", "StatefulSet"), with(&set(), &patch)), expected, "{patch}");
    }
}

#[test]
fn a_sets_name_must_fit_into_a_label() {
    let sets = kind("apps", "StatefulSet");
    let errors = errors(sets, with(&set(), &json!({"metadata": {"name": "a".repeat(64)}})));
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("metadata.name: Invalid value: "), "{errors:?}");
}

#[test]
fn an_update_may_change_only_what_the_controller_can_carry_out() {
    let sets = kind("apps", "StatefulSet");
    for patch in [
        json!({"spec": {"replicas": 5}}),
        json!({"spec": {"ordinals": {"start": 2}}}),
        json!({"spec": {"minReadySeconds": 2}}),
        json!({"spec": {"revisionHistoryLimit": 2}}),
        json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}}),
        json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
    ] {
        assert_eq!(update_errors(sets, set(), with(&set(), &patch)), Vec::<String>::new(), "{patch}");
    }
    for patch in [
        json!({"spec": {"serviceName": "other"}}),
        json!({"spec": {"podManagementPolicy": "Parallel"}}),
        json!({"spec": {"volumeClaimTemplates": [
            {"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
            {"metadata": {"name": "logs"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
        ]}}),
    ] {
        assert_eq!(
            update_errors(sets, set(), with(&set(), &patch)),
            ["spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', \
                 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden"],
            "{patch}"
        );
    }
}

fn with_claim(change: &Value) -> Value {
    let mut changed = set();
    model::patch::merge(&mut changed["spec"]["volumeClaimTemplates"][0], change);
    changed
}

#[test]
fn a_claim_template_may_change_in_what_a_live_claim_can() {
    let sets = kind("apps", "StatefulSet");
    for change in [
        json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}),
        json!({"spec": {"volumeAttributesClassName": "gold"}}),
        json!({"metadata": {"labels": {"tier": "gold"}, "annotations": {"note": "a b"}}}),
    ] {
        assert_eq!(update_errors(sets, set(), with_claim(&change)), Vec::<String>::new(), "{change}");
        assert_eq!(update_errors(sets, with_claim(&change), with_claim(&change)), Vec::<String>::new());
    }
    let shrunk = "spec.volumeClaimTemplates[0].spec.resources.requests.storage: Forbidden: field can not be \
                  less than previous value";
    let smaller = json!({"spec": {"resources": {"requests": {"storage": "512Mi"}}}});
    assert_eq!(update_errors(sets, set(), with_claim(&smaller)), [shrunk]);
    let label = json!({"metadata": {"labels": {"tier": "a b"}}});
    let errors = update_errors(sets, set(), with_claim(&label));
    assert!(
        errors[0].starts_with("spec.volumeClaimTemplates[0].metadata.labels: Invalid value"),
        "{errors:?}"
    );
    for change in [
        json!({"metadata": {"name": "other"}}),
        json!({"spec": {"storageClassName": "other"}}),
        json!({"spec": {"accessModes": ["ReadWriteMany"]}}),
        json!({"spec": {"resources": {"limits": {"storage": "9Gi"}}}}),
    ] {
        let mut changed = with_claim(&change);
        // The pod goes on mounting what there is.
        changed["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([]);
        let errors = update_errors(sets, set(), changed);
        assert!(errors[0].starts_with("spec: Forbidden: updates to statefulset spec for"), "{errors:?}");
        assert!(
            errors[1].starts_with(
                "spec.volumeClaimTemplates[0]: Forbidden: updates to volumeClaimTemplates for fields other than"
            ),
            "{errors:?}"
        );
    }
}

#[test]
fn how_claims_are_updated_is_filled_in_checked_and_may_change() {
    let sets = kind("apps", "StatefulSet");
    let strategy = |text: &str| json!({"spec": {"volumeClaimUpdateStrategy": {"type": text}}});
    assert_eq!(created(sets, set())["spec"]["volumeClaimUpdateStrategy"], json!({"type": "OnClaimDelete"}));
    let in_place = with(&set(), &strategy("InPlace"));
    assert_eq!(update_errors(sets, set(), in_place.clone()), Vec::<String>::new());
    assert_eq!(update_errors(sets, in_place, set()), Vec::<String>::new());
    assert_eq!(
        errors(sets, with(&set(), &strategy("Recreate"))),
        [
            r#"spec.volumeClaimUpdateStrategy.type: Unsupported value: "Recreate": supported values: "InPlace", "OnClaimDelete""#
        ]
    );
}

#[test]
fn defaults_that_came_after_a_set_was_stored_are_no_change_of_it() {
    let sets = kind("apps", "StatefulSet");
    let new = created(sets, set());
    let mut old = new.clone();
    old["spec"].as_object_mut().expect("is an object").remove("volumeClaimUpdateStrategy");
    assert!(!sets.strategy.changes_generation(&new, &old));
    let scaled = with(&new, &json!({"spec": {"replicas": 3}}));
    assert!(sets.strategy.changes_generation(&scaled, &old));
}

#[test]
fn a_set_whose_template_was_bad_before_can_still_be_scaled() {
    let sets = kind("apps", "StatefulSet");
    let mut bad = set();
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = "".into();
    let scaled = with(&bad, &json!({"spec": {"replicas": 0}}));
    assert_eq!(update_errors(sets, bad, scaled), Vec::<String>::new());
}

#[test]
fn an_impossible_status_is_refused() {
    let sets = kind("apps", "StatefulSet");
    let old = with(&created(sets, set()), &json!({"status": {"collisionCount": 2}}));
    let check = |status: Value| {
        let new = with(&old, &json!({"status": status}));
        let errors = sets.strategy.validate_status_update(&new, &old);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        check(json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2})),
        Vec::<String>::new()
    );
    assert_eq!(
        check(json!({"replicas": 1, "readyReplicas": 2})),
        ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]
    );
    assert_eq!(
        check(json!({"replicas": 2, "readyReplicas": 1, "availableReplicas": 2})),
        ["status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"]
    );
    assert_eq!(
        check(json!({"collisionCount": 1})),
        ["status.collisionCount: Invalid value: 1: cannot be decremented"]
    );
}

#[test]
fn only_a_changed_spec_makes_a_new_generation() {
    let sets = kind("apps", "StatefulSet");
    let old = created(sets, set());
    assert!(sets.strategy.has_generation());
    let labelled = with(&old, &json!({"metadata": {"labels": {"a": "b"}}, "status": {"replicas": 3}}));
    assert!(!sets.strategy.changes_generation(&labelled, &old));
    assert!(sets.strategy.changes_generation(&with(&old, &json!({"spec": {"replicas": 3}})), &old));
}

#[test]
fn the_row_says_how_many_are_ready() {
    let sets = kind("apps", "StatefulSet");
    let object =
        with(&created(sets, set()), &json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 2}}));
    assert_eq!(row(sets, &object), ["web", "2/3", "120m", "a", "nginx:1"]);
}

#[test]
fn a_negative_history_limit_is_warned_of() {
    let sets = kind("apps", "StatefulSet");
    let object = created(sets, with(&set(), &json!({"spec": {"revisionHistoryLimit": -1}})));
    assert_eq!(
        sets.strategy.warnings(&object, None),
        [
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        ]
    );
}

#[test]
fn names_that_do_not_fit_their_pods_are_refused_at_once() {
    let longest = "a".repeat(52);
    let named = |name: &str, spec: Value| with(&set(), &json!({"metadata": {"name": name}, "spec": spec}));
    let kind = || kind("apps", "StatefulSet");
    assert_eq!(errors(kind(), named(&longest, json!({"replicas": 5000}))), Vec::<String>::new());
    let refused = errors(kind(), named(&format!("{longest}a"), json!({})));
    assert!(refused[0].starts_with("metadata.name: Invalid value"), "{refused:?}");
}

#[test]
fn fields_and_annotations_of_our_own_are_as_strict_as_upstreams() {
    let table = [
        (json!({"spec": {"reserveOrdinals": [1, "3-5"]}}), ""),
        (json!({"spec": {"reserveOrdinals": [1, "5-3"]}}), "spec.reserveOrdinals[1]: Invalid value"),
        (json!({"spec": {"updateStrategy": {"type": "Recreate", "rollingUpdate": null}}}), ""),
        (json!({"metadata": {"annotations": {"ordinal.dev/rollout": "strict"}}}), ""),
        (
            json!({"metadata": {"annotations": {"ordinal.dev/rollout": "x"}}}),
            "metadata.annotations[ordinal.dev/rollout]",
        ),
        (json!({"metadata": {"annotations": {"ordinal.dev/primary-label": "role=primary"}}}), ""),
        (
            json!({"metadata": {"annotations": {"ordinal.dev/other": ""}}}),
            "metadata.annotations[ordinal.dev/other]",
        ),
    ];
    for (change, expected) in table {
        let refused = errors(kind("apps", "StatefulSet"), with(&set(), &change));
        match expected {
            "" => assert_eq!(refused, Vec::<String>::new(), "{change}"),
            expected => assert!(refused[0].starts_with(expected), "{change}: {refused:?}"),
        }
    }
}
