//! What becomes of volumes and claims that are given up, and what holds them.

use serde_json::{Value, json};

use super::world::{World, claim, volume, with};
use crate::volumes::{Key, matching};

fn pod(name: &str, node: Option<&str>, phase: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
        "spec": { "nodeName": node, "containers": [{ "name": "app" }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] },
        "status": { "phase": phase },
    })
}

/// A world with the claim `data` bound to the volume `disk` of this policy.
fn bound(policy: &str) -> World {
    let mut world = World::new();
    let policy = json!({ "spec": { "persistentVolumeReclaimPolicy": policy } });
    world.add_volume(with(&volume("disk", "c", "1Gi"), policy));
    world.add_claim(claim("data", "c", "1Gi"));
    world.settle().expect("nothing crashes");
    assert_eq!(world.claim_phase("data"), "Bound");
    world
}

#[test]
fn what_is_kept_stays_released_and_goes_to_no_later_claim() {
    let mut world = bound("Retain");
    world.delete_claim("data");
    world.settle().expect("nothing crashes");
    assert!(!world.has_claim("data"));
    assert_eq!(matching::volume_phase(world.volume("disk")), "Released");
    let again = with(&claim("data", "c", "1Gi"), json!({ "metadata": { "uid": "another" } }));
    world.add_claim(again);
    world.settle().expect("nothing crashes");
    assert_eq!(world.claim_phase("data"), "Pending");
    assert_eq!(matching::volume_phase(world.volume("disk")), "Released");
}

#[test]
fn policies_that_nobody_can_carry_out_leave_the_volume_failed() {
    for (policy, reason) in [("Recycle", "VolumeFailedRecycle"), ("Delete", "VolumeFailedDelete")] {
        let mut world = bound(policy);
        world.delete_claim("data");
        world.settle().expect("nothing crashes");
        assert_eq!(matching::volume_phase(world.volume("disk")), "Failed", "{policy}");
        assert_eq!(world.said.last().map(String::as_str), Some(reason));
    }
}

#[test]
fn a_claim_stays_while_a_pod_with_a_node_names_it() {
    let table = [
        ("running", pod("web-0", Some("node-1"), "Running"), true),
        ("ended, as its node may not have let go", pod("web-0", Some("node-1"), "Succeeded"), true),
        ("without a node", pod("web-0", None, "Pending"), false),
    ];
    for (what, pod, stays) in table {
        let mut world = bound("Retain");
        world.add_pod(pod);
        world.delete_claim("data");
        world.settle().expect("nothing crashes");
        assert_eq!(world.has_claim("data"), stays, "{what}");
        if stays {
            assert_eq!(matching::volume_phase(world.volume("disk")), "Bound");
            world.remove_pod("web-0");
            world.settle().expect("nothing crashes");
            assert!(!world.has_claim("data"), "{what}");
        }
    }
}

#[test]
fn a_volume_stays_while_it_is_bound() {
    let mut world = bound("Retain");
    world.delete_volume("disk");
    world.settle().expect("nothing crashes");
    assert_eq!(world.claim_phase("data"), "Bound");
    world.delete_claim("data");
    world.settle().expect("nothing crashes");
    assert!(world.volumes.is_empty());
}

#[test]
fn a_provisioned_volume_that_was_deleted_first_still_takes_its_content_along() {
    let mut world = World::new();
    world.add_claim(claim("data", "now", "1Gi"));
    world.settle().expect("nothing crashes");
    world.delete_volume("pvc-uid-data");
    world.settle().expect("nothing crashes");
    assert_eq!(world.made.len(), 1, "it is bound");
    world.delete_claim("data");
    world.settle().expect("nothing crashes");
    assert!(world.made.is_empty() && world.volumes.is_empty());
}

#[test]
fn content_stays_where_the_view_misses_a_claim_that_the_api_has() {
    let mut world = World::new();
    world.add_claim(claim("data", "now", "1Gi"));
    world.settle().expect("nothing crashes");
    let live = world.claim("data").clone();
    world.lose_claim("data");
    world.claims.insert(reconcile::runner::ObjectKey::of(&live), live);
    // The claim's end is confirmed past the view before anything is written, so that nothing is.
    let plan = world.plan(&Key::Volume("pvc-uid-data".to_owned()));
    assert!(!plan.steps.is_empty());
    world.carry_out(plan).expect("nothing crashes");
    assert_eq!(world.made.len(), 1);
    assert_eq!(matching::volume_phase(world.volume("pvc-uid-data")), "Bound");
}

#[test]
fn a_claim_whose_volume_is_gone_is_lost() {
    let mut world = bound("Retain");
    world.lose_volume("disk");
    world.settle().expect("nothing crashes");
    assert_eq!(world.claim_phase("data"), "Lost");
    assert_eq!(world.said.last().map(String::as_str), Some("ClaimLost"));
}

#[test]
fn a_volume_whose_claim_took_another_is_free_again() {
    let mut world = World::new();
    world.add_claim(claim("data", "now", "1Gi"));
    world.settle().expect("nothing crashes");
    let reference = world.volume("pvc-uid-data").spec.as_ref().and_then(|spec| spec.claim_ref.clone());
    let stray = with(
        &volume("stray", "now", "1Gi"),
        json!({
            "metadata": { "annotations": { "pv.kubernetes.io/bound-by-controller": "yes" } },
            "spec": { "claimRef": reference },
        }),
    );
    world.add_volume(stray);
    world.settle().expect("nothing crashes");
    assert!(matching::is_free(world.volume("stray")));
    assert_eq!(world.bound_to("data"), Some("pvc-uid-data"));
}

#[test]
fn an_ephemeral_volume_gets_a_claim_that_the_pod_owns() {
    let mut world = World::new();
    world.add_pod(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "uid-web" },
        "spec": { "containers": [{ "name": "app" }], "volumes": [{ "name": "scratch", "ephemeral": {
            "volumeClaimTemplate": {
                "metadata": { "labels": { "a": "b" } },
                "spec": { "storageClassName": "now", "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } } },
            } } }] },
    }));
    world.settle().expect("nothing crashes");
    assert_eq!(world.claim_phase("web-scratch"), "Bound");
    let owner = model::meta::controller_of(&world.claim("web-scratch").metadata).expect("has an owner");
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("Pod", "uid-web"));
}

#[test]
fn a_claim_that_is_not_the_pods_own_is_left_alone() {
    let mut world = World::new();
    world.add_claim(claim("web-scratch", "later", "1Gi"));
    let claims = world.claims.len();
    world.add_pod(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "uid-web" },
        "spec": { "containers": [{ "name": "app" }], "volumes": [{ "name": "scratch", "ephemeral": {
            "volumeClaimTemplate": { "spec": {} } } }] },
    }));
    world.settle().expect("nothing crashes");
    assert_eq!(world.claims.len(), claims);
    assert!(world.said.contains(&"FailedBinding".to_owned()));
}
