//! Claims, volumes and classes.

use serde_json::{Value, json};

use super::{MADE, created, defaulted, errors, kind, row, update_errors, with};

fn claim(spec: &Value) -> Value {
    let base = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    json!({
        "metadata": {"name": "data-web-0", "namespace": "default", "creationTimestamp": MADE},
        "spec": with(&base, spec),
    })
}

fn volume(spec: &Value) -> Value {
    let base = json!({
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/x"},
    });
    json!({"metadata": {"name": "pv-1", "creationTimestamp": MADE}, "spec": with(&base, spec)})
}

#[test]
fn a_claim_is_pending_and_a_file_system() {
    let object = created(kind("", "PersistentVolumeClaim"), claim(&json!({})));
    assert_eq!(object["spec"]["volumeMode"], "Filesystem");
    assert_eq!(object["status"], json!({"phase": "Pending"}));
}

#[test]
fn bad_claims_are_refused_with_upstreams_words() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({"accessModes": null}),
            vec!["spec.accessModes: Required value: at least 1 access mode is required"],
        ),
        (
            json!({"accessModes": ["Any"]}),
            vec![
                r#"spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#,
            ],
        ),
        (
            json!({"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]}),
            vec!["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (json!({"resources": null}), vec!["spec.resources[storage]: Required value"]),
        (
            json!({"resources": {"requests": {"storage": "0"}}}),
            vec![r#"spec.resources[storage]: Invalid value: "0": must be greater than zero"#],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(errors(kind("", "PersistentVolumeClaim"), claim(&patch)), expected, "{patch}");
    }
}

/// What is wrong with the change of a bound claim of 1Gi.
fn bound_update(patch: &Value) -> Vec<String> {
    let claims = kind("", "PersistentVolumeClaim");
    let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    let old = with(&created(claims, claim(&json!({"volumeName": "pv"}))), &status);
    let mut new = defaulted(claims, with(&old, patch));
    claims.strategy.prepare_update(&mut new, &old);
    claims.strategy.validate_update(&new, &old).iter().map(ToString::to_string).collect()
}

#[test]
fn a_bound_claim_may_grow_and_nothing_else() {
    let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    assert_eq!(bound_update(&size("2Gi")), Vec::<String>::new());
    assert_eq!(
        bound_update(&size("500Mi")),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    let immutable = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                     volumeAttributesClassName for bound claims";
    assert_eq!(bound_update(&json!({"spec": {"volumeName": "other"}})), [immutable]);
    let claims = kind("", "PersistentVolumeClaim");
    let grown = claim(&json!({"resources": {"requests": {"storage": "2Gi"}}}));
    assert_eq!(update_errors(claims, claim(&json!({})), grown), [immutable], "an unbound claim may not grow");
    let bound = claim(&json!({"volumeName": "pv", "storageClassName": "local"}));
    assert_eq!(update_errors(claims, claim(&json!({})), bound), Vec::<String>::new());
}

#[test]
fn the_row_of_a_claim_shows_its_volume_once_bound() {
    let claims = kind("", "PersistentVolumeClaim");
    let pending = defaulted(claims, claim(&json!({"storageClassName": "local"})));
    assert_eq!(
        row(claims, &pending),
        ["data-web-0", "Pending", "", "", "", "local", "<unset>", "120m", "Filesystem"]
    );
    let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
    let bound = with(&defaulted(claims, claim(&json!({"volumeName": "pv-1"}))), &status);
    assert_eq!(
        row(claims, &bound),
        ["data-web-0", "Bound", "pv-1", "1Gi", "RWO", "", "<unset>", "120m", "Filesystem"]
    );
}

#[test]
fn bad_volumes_are_refused_with_upstreams_words() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (json!({}), vec![]),
        (json!({"capacity": null}), vec!["spec.capacity: Required value"]),
        (json!({"accessModes": null}), vec!["spec.accessModes: Required value"]),
        (json!({"hostPath": null}), vec!["spec: Required value: must specify a volume type"]),
        (
            json!({"nfs": {"server": "s", "path": "/p"}}),
            vec!["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({"hostPath": null, "local": {"path": "/x"}}),
            vec!["metadata.annotations: Required value: Local volume requires node affinity"],
        ),
        (
            json!({"persistentVolumeReclaimPolicy": "Burn"}),
            vec![
                r#"spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain""#,
            ],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(errors(kind("", "PersistentVolume"), volume(&patch)), expected, "{patch}");
    }
    assert_eq!(
        update_errors(
            kind("", "PersistentVolume"),
            volume(&json!({})),
            volume(&json!({"hostPath": {"path": "/y"}}))
        ),
        ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]
    );
}

#[test]
fn the_row_of_a_volume() {
    let volumes = kind("", "PersistentVolume");
    let spec = json!({"claimRef": {"namespace": "default", "name": "c"}, "storageClassName": "local"});
    let object = defaulted(volumes, volume(&spec));
    assert_eq!(
        row(volumes, &object),
        [
            "pv-1",
            "1Gi",
            "RWO",
            "Retain",
            "Pending",
            "default/c",
            "local",
            "<unset>",
            "",
            "120m",
            "Filesystem"
        ]
    );
}

#[test]
fn a_class_keeps_what_its_volumes_were_made_with() {
    let classes = kind("storage.k8s.io", "StorageClass");
    let class = json!({"metadata": {"name": "local", "creationTimestamp": MADE}, "provisioner": "x.io/y"});
    assert_eq!(errors(classes, json!({})), ["provisioner: Required value"]);
    assert_eq!(
        update_errors(classes, class.clone(), with(&class, &json!({"parameters": {"a": "b"}}))),
        ["parameters: Forbidden: updates to parameters are forbidden."]
    );
    assert_eq!(
        update_errors(
            classes,
            class.clone(),
            with(&class, &json!({"volumeBindingMode": "WaitForFirstConsumer"}))
        ),
        [r#"volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable"#]
    );
    let default =
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
    assert_eq!(
        row(classes, &defaulted(classes, with(&class, &default))),
        ["local (default)", "x.io/y", "Delete", "Immediate", "false", "120m"]
    );
}
