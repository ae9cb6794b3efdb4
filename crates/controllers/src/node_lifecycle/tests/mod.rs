//! What is decided about nodes, without an API.

use std::sync::Arc;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use model::encoded::Revision;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::view::{Event, View};
use reconcile::picture::Picture;

mod taints;

fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("is a time");
    begin + SignedDuration::from_secs(seconds)
}

fn node(conditions: &Value, heard: i64) -> Event {
    let node = json!({
        "metadata": { "name": "node-a", "uid": "1" },
        "status": { "conditions": conditions },
    });
    let node: Node = serde_json::from_value(node).expect("is a node");
    Event::Nodes(Change::Apply(Arc::new(node)), at(heard))
}

fn lease(renewed: &str, heard: i64) -> Event {
    let lease = json!({
        "metadata": { "name": "node-a", "namespace": "kube-node-lease" },
        "spec": { "renewTime": renewed },
    });
    let lease: Lease = serde_json::from_value(lease).expect("is a lease");
    Event::Leases(Change::Apply(Arc::new(lease)), at(heard))
}

fn pod(name: &str, node: &str, ready: &str) -> Event {
    let pod = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name },
        "spec": { "nodeName": node, "containers": [] },
        "status": { "phase": "Running", "conditions": [
            { "type": "Ready", "status": ready }, { "type": "ContainersReady", "status": "True" },
        ]},
    });
    let pod: Pod = serde_json::from_value(pod).expect("is a pod");
    Event::Pods(Change::Apply(Arc::new(pod)))
}

fn view() -> View {
    let mut view = View::default();
    view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
    view.apply(Event::Nodes(Change::Reset(Vec::new(), Revision(1)), at(0)));
    view.apply(Event::Leases(Change::Reset(Vec::new(), Revision(1)), at(0)));
    view.apply(node(&json!([{ "type": "Ready", "status": "True" }]), 0));
    view
}

fn decide(view: &View, seconds: i64) -> Plan {
    let turn = view.turn("node-a", at(seconds));
    plan(view.node("node-a").expect("is there"), view.ready_pods("node-a"), turn, at(seconds))
}

#[test]
fn a_node_is_told_of_once_until_another_takes_its_name() {
    let mut view = view();
    let first = decide(&view, 0);
    assert!(first.is_new && !first.is_quiet());
    view.note("node-a", &first, at(0));
    view.apply(node(&json!([{ "type": "Ready", "status": "False" }]), 1));
    assert!(!decide(&view, 1).is_new, "it was told");
    let other: Node =
        serde_json::from_value(json!({ "metadata": { "name": "node-a", "uid": "2" } })).expect("is a node");
    view.apply(Event::Nodes(Change::Reset(vec![Arc::new(other)], Revision(2)), at(2)));
    assert!(decide(&view, 2).is_new);
}

#[test]
fn a_node_is_unknown_forty_seconds_after_its_last_renewal() {
    let mut view = view();
    view.apply(lease("2026-01-01T00:00:10.000000Z", 10));
    let plan = decide(&view, 49);
    assert_eq!((plan.conditions, plan.requeue_after.map(|left| left.as_secs())), (None, Some(1)));
    let plan = decide(&view, 50);
    let conditions = plan.conditions.expect("must be written");
    assert!(plan.was_ready && conditions.iter().all(|condition| condition.status == "Unknown"));
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
}

#[test]
fn a_lease_that_is_written_without_being_renewed_is_no_sign_of_life() {
    let mut view = view();
    view.apply(lease("2026-01-01T00:00:10.000000Z", 10));
    view.apply(lease("2026-01-01T00:00:10.000000Z", 45));
    assert!(decide(&view, 50).conditions.is_some());
}

#[test]
fn a_wrong_clock_on_the_node_does_not_matter() {
    let mut view = view();
    view.apply(lease("1999-01-01T00:00:00.000000Z", 10));
    assert!(decide(&view, 49).conditions.is_none());
}

#[test]
fn what_is_unknown_already_is_not_written_again() {
    let mut view = view();
    let conditions = decide(&view, 40).conditions.expect("must be written");
    let conditions = serde_json::to_value(conditions).expect("encodes");
    view.apply(node(&conditions, 40));
    assert!(decide(&view, 100).conditions.is_none());
}

#[test]
fn the_ready_pods_of_a_silent_node_become_not_ready() {
    let mut view = view();
    for (name, node, ready) in [("a", "node-a", "True"), ("b", "node-a", "False"), ("c", "node-b", "True")] {
        view.apply(pod(name, node, ready));
    }
    assert!(decide(&view, 39).pods.is_empty());
    let pods = decide(&view, 40).pods;
    let [pod] = pods.as_slice() else { panic!("one pod is to be written, not {}", pods.len()) };
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).expect("has some");
    let told: Vec<(&str, &str, Option<&str>)> = conditions
        .iter()
        .map(|one| (one.type_.as_str(), one.status.as_str(), one.reason.as_deref()))
        .collect();
    assert_eq!(told, [("Ready", "False", Some("NodeNotReady")), ("ContainersReady", "True", None)]);
    assert_eq!(pod.metadata.name.as_deref(), Some("a"));
    view.apply(Event::Pods(Change::Apply(Arc::new(pod.clone()))));
    assert!(decide(&view, 41).pods.is_empty());
}

#[test]
fn a_pod_that_calls_itself_ready_is_believed_when_its_node_is_heard_of() {
    let mut view = view();
    let unknown = serde_json::to_value(decide(&view, 40).conditions.expect("is silent")).expect("encodes");
    view.apply(node(&unknown, 40));
    let touched: Vec<String> = view.apply(pod("a", "node-a", "True")).into_iter().collect();
    assert_eq!(touched, ["node-a"], "a silent node's pod needs a decision");
    assert_eq!(decide(&view, 41).pods.len(), 1);
    view.apply(lease("2026-01-01T00:00:50.000000Z", 50));
    assert!(decide(&view, 51).pods.is_empty());
}

#[test]
fn a_pod_of_a_silent_node_that_says_again_that_it_is_ready_is_contradicted_after_a_pause() {
    let mut view = view();
    view.apply(pod("web-0", "node-a", "True"));
    let first = decide(&view, 40);
    assert_eq!(first.pods.len(), 1);
    view.note("node-a", &first, at(40));
    view.apply(node(&serde_json::to_value(first.conditions).expect("are values"), 40));
    view.apply(pod("web-0", "node-a", "True"));
    let again = decide(&view, 41);
    assert_eq!((again.pods.len(), again.requeue_after.map(|left| left.as_secs())), (0, Some(9)));
    assert_eq!(decide(&view, 50).pods.len(), 1);
}
