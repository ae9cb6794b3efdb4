//! Which volume a claim gets, in tables.

use serde_json::{Value, json};

use super::world::{DRIVER, World, claim, volume, with};
use crate::volumes::Key;
use reconcile::runner::ObjectKey;

/// Whether a claim of 2Gi with these changes is bound to a volume of 3Gi with these.
fn fits(claim_change: Value, volume_change: Value) -> bool {
    let mut world = World::new();
    world.add_volume(with(&volume("disk", "manual-class", "3Gi"), volume_change));
    world.add_claim(with(&claim("data", "manual-class", "2Gi"), claim_change));
    world.settle().expect("nothing crashes");
    match world.bound_to("data") {
        Some("disk") => {
            assert_eq!(world.claim_phase("data"), "Bound");
            true
        }
        None => {
            assert_eq!(world.claim_phase("data"), "Pending");
            false
        }
        Some(other) => panic!("bound to {other}"),
    }
}

fn spec(value: Value) -> Value {
    json!({ "spec": value })
}

#[test]
fn a_volume_must_fit_in_class_size_modes_and_selector() {
    let size = |size| spec(json!({ "resources": { "requests": { "storage": size } } }));
    let modes = |modes: &[&str]| spec(json!({ "accessModes": modes }));
    let wants = |labels: Value| spec(json!({ "selector": { "matchLabels": labels } }));
    let has = |labels: Value| json!({ "metadata": { "labels": labels } });
    let not_in = spec(json!({ "selector": { "matchExpressions": [
        { "key": "disk", "operator": "NotIn", "values": ["hdd"] }] } }));
    let table = [
        ("as they are", json!({}), json!({}), true),
        ("another class", spec(json!({ "storageClassName": "other" })), json!({}), false),
        ("no class", spec(json!({ "storageClassName": "" })), json!({}), false),
        (
            "no class at both",
            spec(json!({ "storageClassName": "" })),
            spec(json!({ "storageClassName": null })),
            true,
        ),
        ("just its size", size("3Gi"), json!({}), true),
        ("a byte too large", size("3221225473"), json!({}), false),
        ("a subset of modes", modes(&["ReadOnlyMany"]), json!({}), true),
        ("a mode too many", modes(&["ReadWriteOnce", "ReadWriteMany"]), json!({}), false),
        ("a block device", spec(json!({ "volumeMode": "Block" })), json!({}), false),
        ("explicitly a file system", spec(json!({ "volumeMode": "Filesystem" })), json!({}), true),
        ("labels it has", wants(json!({ "disk": "ssd" })), has(json!({ "disk": "ssd" })), true),
        ("labels it has not", wants(json!({ "disk": "ssd" })), has(json!({ "disk": "hdd" })), false),
        ("an expression that fits", not_in.clone(), has(json!({ "disk": "ssd" })), true),
        ("an expression that does not", not_in, has(json!({ "disk": "hdd" })), false),
        (
            "one that is promised to its name",
            json!({}),
            spec(json!({
            "claimRef": { "namespace": "default", "name": "data" } })),
            true,
        ),
        (
            "one promised to another name",
            json!({}),
            spec(json!({
            "claimRef": { "namespace": "default", "name": "other" } })),
            false,
        ),
        (
            "one promised to an earlier claim of its name",
            json!({}),
            spec(json!({
            "claimRef": { "namespace": "default", "name": "data", "uid": "earlier" } })),
            false,
        ),
        (
            "one that is on its way out",
            json!({}),
            json!({ "metadata": {
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["test/holds"] } }),
            false,
        ),
        ("named", spec(json!({ "volumeName": "disk" })), json!({}), true),
    ];
    for (what, claim_change, volume_change, expected) in table {
        if what == "one that is on its way out" {
            let mut world = World::new();
            world.add_volume(with(&volume("disk", "c", "3Gi"), volume_change));
            world.add_claim(claim("data", "c", "2Gi"));
            let plan = world.plan(&Key::Claim(ObjectKey::new("default", "data")));
            assert!(plan.steps.is_empty(), "{what}: {plan}");
            continue;
        }
        assert_eq!(fits(claim_change, volume_change), expected, "{what}");
    }
}

#[test]
fn the_smallest_volume_that_fits_is_taken() {
    let mut world = World::new();
    for (name, size) in [("a", "10Gi"), ("b", "2Gi"), ("c", "1Gi"), ("d", "3Gi")] {
        world.add_volume(volume(name, "c", size));
    }
    world.add_claim(claim("data", "c", "1500Mi"));
    world.settle().expect("nothing crashes");
    assert_eq!(world.bound_to("data"), Some("b"));
    let claim = world.claim("data");
    let status = serde_json::to_value(&claim.status).expect("can be encoded");
    assert_eq!(status["capacity"]["storage"], "2Gi");
    assert_eq!(status["accessModes"], json!(["ReadWriteOnce", "ReadOnlyMany"]));
    let annotations = claim.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["pv.kubernetes.io/bind-completed"], "yes");
    assert_eq!(annotations["pv.kubernetes.io/bound-by-controller"], "yes");
}

#[test]
fn a_named_volume_that_is_another_claims_is_not_taken() {
    let mut world = World::new();
    world.add_volume(volume("disk", "c", "1Gi"));
    world.add_claim(with(&claim("first", "c", "1Gi"), spec(json!({ "volumeName": "disk" }))));
    world.settle().expect("nothing crashes");
    world.add_claim(with(&claim("second", "c", "1Gi"), spec(json!({ "volumeName": "disk" }))));
    world.settle().expect("nothing crashes");
    assert_eq!(world.claim_phase("first"), "Bound");
    assert_eq!(world.claim_phase("second"), "Pending");
    assert!(world.said.contains(&"FailedBinding".to_owned()));
}

#[test]
fn a_promised_volume_gets_the_uid_of_its_claim() {
    let mut world = World::new();
    let promise = spec(json!({ "claimRef": { "namespace": "default", "name": "data" } }));
    world.add_volume(with(&volume("disk", "c", "1Gi"), promise));
    world.add_volume(volume("smaller", "c", "1Gi"));
    world.add_claim(claim("data", "c", "1Gi"));
    world.settle().expect("nothing crashes");
    assert_eq!(world.bound_to("data"), Some("disk"));
    let spec = world.volume("disk").spec.clone().expect("has a spec");
    assert_eq!(spec.claim_ref.and_then(|reference| reference.uid).as_deref(), Some("uid-data"));
}

#[test]
fn a_volume_kept_for_one_claim_is_not_given_to_another_that_is_decided_about_meanwhile() {
    let mut world = World::new();
    world.add_volume(volume("a", "c", "1Gi"));
    world.add_claim(claim("x", "c", "1Gi"));
    world.add_claim(claim("y", "c", "1Gi"));
    let (x, y) = (ObjectKey::new("default", "x"), ObjectKey::new("default", "y"));
    let first = world.plan(&Key::Claim(x.clone()));
    world.view.reserve(&x, first.reserve.clone());
    let second = world.plan(&Key::Claim(y.clone()));
    assert!(second.steps.is_empty() && second.requeue_after.is_some(), "{second}");
    world.add_volume(volume("b", "c", "1Gi"));
    assert_eq!(world.plan(&Key::Claim(y)).reserve.as_deref(), Some("b"));
}

#[test]
fn stale_plans_of_two_claims_for_one_volume_bind_one() {
    let mut world = World::new();
    world.add_volume(volume("a", "c", "1Gi"));
    world.add_claim(claim("x", "c", "1Gi"));
    world.add_claim(claim("y", "c", "1Gi"));
    let plans = ["x", "y"].map(|name| world.plan(&Key::Claim(ObjectKey::new("default", name))));
    for plan in plans {
        world.carry_out(plan).expect("nothing crashes");
    }
    assert_eq!(world.bound_to("x"), Some("a"));
    assert_eq!(world.bound_to("y"), None);
}

#[test]
fn a_claim_that_waits_for_its_consumer_is_bound_only_where_the_volume_can_be_used() {
    let on = |node| {
        spec(json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": [{
        "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }] }] } } }))
    };
    let mut world = World::new();
    world.add_volume(with(&volume("near", "manual", "2Gi"), on("node-2")));
    world.add_volume(with(&volume("far", "manual", "1Gi"), on("node-1")));
    world.add_claim(claim("data", "manual", "1Gi"));
    world.settle().expect("nothing crashes");
    assert_eq!(world.bound_to("data"), None);
    assert_eq!(world.said, ["WaitForFirstConsumer"]);
    let chosen = json!({ "metadata": { "annotations": { "volume.kubernetes.io/selected-node": "node-2" } } });
    let claim = with(world.claim("data"), chosen);
    world.add_claim(claim);
    world.settle().expect("nothing crashes");
    assert_eq!(world.bound_to("data"), Some("near"));
}

#[test]
fn a_new_volume_is_described_by_its_claim_its_class_and_its_driver() {
    let mut world = World::new();
    let chosen = json!({ "metadata": { "annotations": { "volume.kubernetes.io/selected-node": "node-1" } } });
    world.add_claim(with(&claim("data", "later", "1Gi"), chosen));
    world.settle().expect("nothing crashes");
    assert_eq!(world.bound_to("data"), Some("pvc-uid-data"));
    let volume = serde_json::to_value(world.volume("pvc-uid-data")).expect("can be encoded");
    assert_eq!(volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"], DRIVER);
    assert_eq!(volume["spec"]["csi"], json!({ "driver": DRIVER, "volumeHandle": "pvc-uid-data" }));
    assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(volume["spec"]["storageClassName"], "later");
    let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(*term, json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"] }));
    let annotations = world.claim("data").metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["volume.kubernetes.io/storage-provisioner"], DRIVER);
    assert_eq!(annotations["volume.beta.kubernetes.io/storage-provisioner"], DRIVER);
}

#[test]
fn people_are_told_why_a_claim_waits() {
    let selector = spec(json!({ "selector": { "matchLabels": { "a": "b" } } }));
    let table = [
        (claim("data", "", "1Gi"), "FailedBinding", "no persistent volumes available for this claim and no"),
        (claim("data", "later", "1Gi"), "WaitForFirstConsumer", "waiting for first consumer to be created"),
        (
            claim("data", "foreign", "1Gi"),
            "ExternalProvisioning",
            "Waiting for a volume to be created either",
        ),
        (
            claim("data", "none", "1Gi"),
            "ProvisioningFailed",
            "storageclass.storage.k8s.io \"none\" not found",
        ),
        (
            with(&claim("data", "now", "1Gi"), selector),
            "ProvisioningFailed",
            "failed to provision volume with StorageClass \"now\": claim Selector is not supported",
        ),
        (
            with(&claim("data", "now", "9Gi"), spec(json!({ "volumeName": "disk" }))),
            "VolumeMismatch",
            "Cannot bind to requested volume \"disk\": requested PV is too small",
        ),
    ];
    for (claim, reason, message) in table {
        let mut world = World::new();
        world.add_volume(volume("disk", "elsewhere", "1Gi"));
        world.add_claim(claim);
        let plan = world.plan(&Key::Claim(ObjectKey::new("default", "data")));
        let [notice] = plan.notices.as_slice() else { panic!("{plan}") };
        assert_eq!(notice.reason, reason);
        assert!(notice.message.starts_with(message), "{}", notice.message);
        world.settle().expect("nothing crashes");
        assert_eq!(world.claim_phase("data"), "Pending");
        assert!(world.made.is_empty());
        assert_eq!(world.said, [reason], "told once");
    }
}
