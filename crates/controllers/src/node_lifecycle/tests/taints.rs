//! Taints of nodes that are not well, and whose turn it is.

use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use model::encoded::Revision;
use reconcile::picture::Picture;
use serde_json::json;

use super::{Event, Plan, View, at, plan};

fn node(name: &str, zone: &str, ready: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {"taints": [{"key": "own", "effect": "NoSchedule"}]},
        "status": {"conditions": [
            {"type": "Ready", "status": ready}, {"type": "MemoryPressure", "status": ready},
            {"type": "DiskPressure", "status": ready}, {"type": "PIDPressure", "status": ready},
        ]},
    }))
    .expect("is a node")
}

struct World(View);

impl World {
    fn new(nodes: Vec<Node>) -> World {
        let mut view = View::default();
        view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
        let nodes = nodes.into_iter().map(Arc::new).collect();
        view.apply(Event::Nodes(Change::Reset(nodes, Revision(1)), at(0)));
        view.apply(Event::Leases(Change::Reset(Vec::new(), Revision(1)), at(0)));
        World(view)
    }

    /// Decides about a node and does what was decided; its taints then, without the node's own.
    fn decide(&mut self, name: &str, seconds: i64) -> (Vec<String>, Plan) {
        let now: Timestamp = at(seconds);
        let entry = self.0.node(name).expect("is there").clone();
        let decision = plan(&entry, self.0.ready_pods(name), self.0.turn(name, now), now);
        self.0.note(name, &decision, now);
        let mut node = (*entry.node).clone();
        if let Some(taints) = &decision.taints {
            node.spec.as_mut().expect("has a spec").taints = Some(taints.clone());
            self.told(node.clone(), seconds);
        }
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).expect("has its own");
        let others = taints.iter().filter(|taint| taint.key != "own");
        let short = |key: &str| key.trim_start_matches("node.kubernetes.io/").to_owned();
        assert!(taints.iter().any(|taint| taint.key == "own"), "a taint of others is left alone");
        (others.map(|taint| format!("{}:{}", short(&taint.key), taint.effect)).collect(), decision)
    }

    fn told(&mut self, node: Node, seconds: i64) -> Vec<String> {
        self.0.apply(Event::Nodes(Change::Apply(Arc::new(node)), at(seconds))).into_iter().collect()
    }

    /// The node with another readiness, its taints kept.
    fn turns(&mut self, name: &str, ready: &str, seconds: i64) -> Vec<String> {
        let mut changed = (*self.0.node(name).expect("is there").node).clone();
        let conditions = changed.status.as_mut().and_then(|status| status.conditions.as_mut());
        conditions.expect("has some").iter_mut().for_each(|one| one.status = ready.to_owned());
        self.told(changed, seconds)
    }
}

#[test]
fn a_node_that_is_not_ready_or_unreachable_has_both_taints_until_it_is_ready() {
    let mut world = World::new(vec![node("a", "x", "True"), node("b", "x", "True")]);
    assert_eq!(world.decide("a", 0).0, [] as [&str; 0]);
    world.turns("a", "Unknown", 1);
    assert_eq!(world.decide("a", 1).0, ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    assert!(world.decide("a", 2).1.taints.is_none(), "what is there is not written again");
    world.turns("a", "False", 3);
    assert_eq!(world.decide("a", 3).0, ["not-ready:NoSchedule", "not-ready:NoExecute"]);
    world.turns("a", "True", 4);
    assert_eq!(world.decide("a", 4).0, [] as [&str; 0]);
}

#[test]
fn while_no_node_is_well_nobody_has_to_go() {
    let mut world = World::new(vec![node("a", "x", "True"), node("b", "y", "True")]);
    world.turns("a", "Unknown", 1);
    assert_eq!(world.decide("a", 1).0, ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    let touched = world.turns("b", "Unknown", 2);
    assert_eq!(touched, ["a", "b"], "the last one that was well");
    assert_eq!(world.decide("a", 2).0, ["unreachable:NoSchedule"]);
    assert_eq!(world.decide("b", 2).0, ["unreachable:NoSchedule"]);
    assert_eq!(world.turns("b", "True", 3), ["a", "b"]);
    assert_eq!(world.decide("b", 3).0, [] as [&str; 0]);
    let (_, decision) = world.decide("a", 3);
    let left = decision.requeue_after.expect("the zone has just had a turn").as_secs();
    assert_eq!(left, 8);
    assert_eq!(world.decide("a", 11).0, ["unreachable:NoSchedule", "unreachable:NoExecute"]);
}

#[test]
fn the_nodes_of_a_zone_take_turns() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut world = World::new(names.iter().map(|name| node(name, "x", "True")).collect());
    world.turns("a", "Unknown", 1);
    world.turns("b", "Unknown", 1);
    let both = ["unreachable:NoSchedule", "unreachable:NoExecute"];
    assert_eq!(world.decide("a", 1).0, both);
    let (taints, decision) = world.decide("b", 1);
    assert_eq!(taints, both[..1]);
    assert_eq!(decision.requeue_after.map(|left| left.as_secs()), Some(10));
    assert_eq!(world.decide("b", 11).0, both);
}

#[test]
fn of_a_small_zone_that_is_mostly_away_nobody_has_to_go() {
    let names = ["a", "b", "c", "d", "e"];
    let mut nodes: Vec<Node> = names.iter().map(|name| node(name, "x", "True")).collect();
    nodes.push(node("other", "y", "True"));
    let mut world = World::new(nodes);
    for name in ["a", "b", "c"] {
        world.turns(name, "Unknown", 1);
    }
    assert_eq!(world.decide("a", 1).0, ["unreachable:NoSchedule"]);
    let touched = world.turns("b", "True", 2);
    assert_eq!(touched, ["a", "b"], "who waits for a turn is looked at when counts change");
    assert_eq!(world.decide("a", 2).0, ["unreachable:NoSchedule", "unreachable:NoExecute"]);
}
