//! Who may stay, and how long, without an API.

use std::sync::Arc;
use std::time::Duration;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use model::encoded::Revision;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::view::{Event, View};

fn at(seconds: i64) -> Timestamp {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("is a time");
    begin + SignedDuration::from_secs(seconds)
}

fn node(taints: Value, heard: i64) -> Event {
    let node = json!({"metadata": {"name": "n", "uid": "n"}, "spec": {"taints": taints}});
    let node: Node = serde_json::from_value(node).expect("is a node");
    Event::Nodes(Change::Apply(Arc::new(node)), at(heard))
}

fn bad() -> Value {
    json!([{"key": "bad", "effect": "NoExecute"}])
}

fn pod(tolerations: Value, heard: i64) -> Event {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "p"},
        "spec": {"nodeName": "n", "containers": [], "tolerations": tolerations},
    });
    let pod: Pod = serde_json::from_value(pod).expect("is a pod");
    Event::Pods(Change::Apply(Arc::new(pod)), at(heard))
}

fn for_seconds(seconds: i64) -> Value {
    json!([{"key": "bad", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}])
}

fn view() -> View {
    let mut view = View::default();
    view.apply(Event::Nodes(Change::Reset(Vec::new(), Revision(1)), at(0)));
    view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1)), at(0)));
    view
}

fn decide(view: &mut View, seconds: i64) -> Plan {
    let key = ObjectKey::new("default", "p");
    let plan = plan(&view.guest(&key).expect("is there"), at(seconds));
    view.note(&key, &plan);
    plan
}

fn later(seconds: u64) -> Plan {
    Plan { requeue_after: Some(Duration::from_secs(seconds)), ..Plan::default() }
}

fn goes() -> Plan {
    Plan { evicts: true, ..Plan::default() }
}

#[test]
fn a_pod_that_tolerates_nothing_goes_at_once_and_one_that_tolerates_all_stays() {
    let mut view = view();
    view.apply(pod(json!([]), 0));
    assert_eq!(decide(&mut view, 0), Plan::default());
    view.apply(node(bad(), 1));
    assert_eq!(decide(&mut view, 1), goes());
    view.apply(pod(json!([{"operator": "Exists"}]), 2));
    assert_eq!(decide(&mut view, 2), Plan::default());
}

#[test]
fn a_taint_that_only_keeps_new_pods_away_makes_nobody_go() {
    let mut view = view();
    view.apply(pod(json!([]), 0));
    let touched = view.apply(node(json!([{"key": "bad", "effect": "NoSchedule"}]), 1));
    assert!(touched.is_empty());
    assert_eq!(decide(&mut view, 1), Plan::default());
}

#[test]
fn time_runs_from_when_the_taint_came_and_not_anew_with_each_change() {
    let mut view = view();
    view.apply(pod(for_seconds(30), 0));
    view.apply(node(bad(), 10));
    assert_eq!(decide(&mut view, 10), later(30));
    view.apply(node(
        json!([{"key": "bad", "effect": "NoExecute"}, {"key": "x", "effect": "NoSchedule"}]),
        20,
    ));
    view.apply(pod(for_seconds(30), 25));
    assert_eq!(decide(&mut view, 39), later(1));
    assert_eq!(decide(&mut view, 40), goes());
}

#[test]
fn a_pod_that_came_later_has_its_whole_time() {
    let mut view = view();
    view.apply(node(bad(), 0));
    view.apply(pod(for_seconds(30), 100));
    assert_eq!(decide(&mut view, 100), later(30));
    assert_eq!(decide(&mut view, 130), goes());
}

#[test]
fn a_restart_gives_no_pod_more_time() {
    let mut view = view();
    let taints = json!([{"key": "bad", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:10Z"}]);
    view.apply(node(taints, 35));
    let mut placed = json!({
        "metadata": {"name": "p", "namespace": "default", "uid": "p"},
        "spec": {"nodeName": "n", "containers": [], "tolerations": for_seconds(30)},
    });
    placed["status"] = json!({"conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]});
    let placed: Pod = serde_json::from_value(placed).expect("is a pod");
    view.apply(Event::Pods(Change::Apply(Arc::new(placed)), at(35)));
    assert_eq!(decide(&mut view, 35), later(5));
}

#[test]
fn a_taint_that_goes_spares_the_pod_and_says_so_once() {
    let mut view = view();
    view.apply(pod(for_seconds(30), 0));
    view.apply(node(bad(), 0));
    assert_eq!(decide(&mut view, 1), later(29));
    assert_eq!(view.apply(node(json!([]), 20)).len(), 1);
    assert_eq!(decide(&mut view, 20), Plan { spares: true, ..Plan::default() });
    assert_eq!(decide(&mut view, 21), Plan::default());
    assert_eq!(decide(&mut view, 60), Plan::default());
    // A taint that comes back begins anew.
    view.apply(node(bad(), 60));
    assert_eq!(decide(&mut view, 60), later(30));
}

#[test]
fn heartbeats_touch_nobody_and_pods_only_where_it_matters() {
    let mut view = view();
    assert!(view.apply(pod(json!([]), 0)).is_empty());
    assert!(view.apply(node(json!([]), 1)).is_empty());
    assert_eq!(view.apply(node(bad(), 2)).len(), 1);
    assert!(view.apply(node(bad(), 3)).is_empty());
    assert_eq!(view.apply(pod(json!([]), 4)).len(), 1);
}
