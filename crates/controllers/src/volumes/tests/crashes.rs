//! A crash between any two writes: whoever starts next ends where nothing had happened.

use super::world::{World, claim, volume, with};
use serde_json::{Value, json};

/// More writes than any of these histories makes.
const WRITES_MAX: usize = 20;

fn outcome(world: &World) -> Value {
    let mut shown = json!({ "claims": world.claims.values().collect::<Vec<_>>(),
        "volumes": world.volumes.values().collect::<Vec<_>>(), "made": world.made });
    forget_versions(&mut shown);
    shown
}

fn forget_versions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("resourceVersion");
            fields.values_mut().for_each(forget_versions);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_versions),
        _ => {}
    }
}

/// Runs a history once whole and then once for each place where it can be cut; returns how many there are.
fn cut_everywhere(prepare: impl Fn() -> World) -> usize {
    let mut whole = prepare();
    whole.settle().expect("nothing crashes");
    let expected = outcome(&whole);
    for writes in 0..WRITES_MAX {
        let mut world = prepare();
        world.crash_after(writes);
        if world.settle().is_ok() {
            return writes;
        }
        world.restart();
        world.settle().expect("nothing crashes any more");
        assert_eq!(outcome(&world), expected, "after a crash before write {writes}: {:#?}", world.log);
    }
    panic!("it writes without end");
}

#[test]
fn a_binding_that_was_cut_anywhere_is_completed_with_the_same_volume() {
    let cuts = cut_everywhere(|| {
        let mut world = World::new();
        world.add_volume(volume("small", "now", "1Gi"));
        world.add_volume(volume("large", "now", "5Gi"));
        world.add_claim(claim("data", "now", "1Gi"));
        world
    });
    assert_eq!(cuts, 4, "reference, phase, name, status");
}

#[test]
fn two_claims_share_two_volumes_wherever_the_writes_are_cut() {
    cut_everywhere(|| {
        let mut world = World::new();
        world.add_volume(volume("a", "now", "1Gi"));
        world.add_volume(volume("b", "now", "1Gi"));
        world.add_claim(claim("x", "now", "1Gi"));
        world.add_claim(claim("y", "now", "1Gi"));
        world
    });
}

#[test]
fn a_provisioning_that_was_cut_anywhere_makes_one_volume() {
    let cuts = cut_everywhere(|| {
        let mut world = World::new();
        let annotations = json!({ "metadata": { "annotations": {
            "volume.kubernetes.io/selected-node": "node-1" } } });
        world.add_claim(with(&claim("data", "later", "1Gi"), annotations));
        world
    });
    assert_eq!(cuts, 6, "mark, make, object, phase, name, status");
}

#[test]
fn a_reclaim_that_was_cut_anywhere_leaves_nothing() {
    let cuts = cut_everywhere(|| {
        let mut world = World::new();
        world.add_claim(claim("data", "now", "1Gi"));
        world.settle().expect("nothing crashes");
        assert_eq!(world.made.len(), 1);
        world.delete_claim("data");
        world
    });
    assert_eq!(cuts, 5, "claim, phase, content, deletion, finalizer");
}
