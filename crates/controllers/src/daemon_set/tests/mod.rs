//! Decisions about DaemonSets: which nodes, which pods go first, what the status says.

use std::sync::Arc;
use std::time::Duration;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use model::encoded::Revision;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::pods::node_of;
use super::revisions::{Write, data_of};
use super::view::{Event, View};
use crate::writes::Named;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("is a time")
}

fn set(spec: &Value) -> DaemonSet {
    let mut set = json!({
        "metadata": { "name": "log", "namespace": "default", "uid": "ds", "generation": 2 },
        "spec": {
            "selector": { "matchLabels": { "app": "log" } },
            "template": {
                "metadata": { "labels": { "app": "log" } },
                "spec": { "containers": [{ "name": "c", "image": "i:2" }] },
            },
        },
    });
    model::patch::merge(&mut set["spec"], spec);
    serde_json::from_value(set).expect("is a set")
}

fn node(name: &str, more: &Value) -> Node {
    let mut node = json!({ "metadata": { "name": name, "labels": { "zone": "z" } } });
    model::patch::merge(&mut node, more);
    serde_json::from_value(node).expect("is a node")
}

fn pod(name: &str, node: &str, hash: &str, more: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "log", "controller-revision-hash": hash },
            "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "log", "uid": "ds", "controller": true },
            ],
        },
        "spec": { "containers": [], "nodeName": node },
        "status": {
            "phase": "Running",
            "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:30:00Z" },
            ],
        },
    });
    model::patch::merge(&mut pod, more);
    serde_json::from_value(pod).expect("is a pod")
}

fn revision(of: &DaemonSet, hash: &str, number: i64) -> ControllerRevision {
    let revision = json!({
        "metadata": {
            "name": format!("log-{hash}"), "namespace": "default", "uid": format!("uid-{hash}"),
            "resourceVersion": "7", "labels": { "app": "log", "controller-revision-hash": hash },
            "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "log", "uid": "ds", "controller": true },
            ],
        },
        "data": data_of(of),
        "revision": number,
    });
    serde_json::from_value(revision).expect("is a revision")
}

fn unready() -> Value {
    json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } })
}

fn going() -> Value {
    json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:59:50Z" } })
}

struct World {
    view: View,
}

impl World {
    /// A set whose present template is revision `new`.
    fn new(set: DaemonSet, nodes: Vec<Node>, pods: Vec<Pod>) -> World {
        let revisions = vec![revision(&set, "new", 2)];
        World::with(set, nodes, pods, revisions)
    }

    fn with(set: DaemonSet, nodes: Vec<Node>, pods: Vec<Pod>, revisions: Vec<ControllerRevision>) -> World {
        fn all<T>(objects: Vec<T>) -> Vec<Arc<T>> {
            objects.into_iter().map(Arc::new).collect()
        }
        let mut view = View::default();
        view.apply(Event::Sets(Change::Reset(vec![Arc::new(set)], Revision(1))));
        view.apply(Event::Pods(Change::Reset(all(pods), Revision(1))));
        view.apply(Event::Revisions(Change::Reset(all(revisions), Revision(1))));
        view.apply(Event::Nodes(Change::Reset(all(nodes), Revision(1))));
        World { view }
    }

    fn key() -> ObjectKey {
        ObjectKey::new("default", "log")
    }

    fn plan(&self) -> Plan {
        plan(&self.view.set(&World::key()).expect("is there"), now())
    }
}

fn three() -> Vec<Node> {
    ["a", "b", "c"].map(|name| node(name, &json!({}))).into()
}

fn names(all: &[Named]) -> Vec<&str> {
    all.iter().map(|one| one.name.as_str()).collect()
}

fn targets(plan: &Plan) -> Vec<&str> {
    plan.create.iter().filter_map(|one| node_of(one)).collect()
}

#[test]
fn each_node_that_the_set_is_for_gets_a_pod_that_is_for_no_other() {
    let spec = json!({ "template": { "spec": { "nodeSelector": { "zone": "z" } } } });
    let nodes = vec![
        node("a", &json!({})),
        node(
            "cordoned",
            &json!({ "spec": { "unschedulable": true, "taints": [
            { "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" },
        ] } }),
        ),
        node("elsewhere", &json!({ "metadata": { "labels": { "zone": "y" } } })),
        node("reserved", &json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" }] } })),
    ];
    let plan = World::new(set(&spec), nodes, vec![]).plan();
    assert_eq!(targets(&plan), ["a", "cordoned"]);
    let made = &plan.create[0];
    assert_eq!(
        made.metadata.labels.as_ref().map(|all| all["controller-revision-hash"].as_str()),
        Some("new")
    );
    assert!(model::meta::is_controlled_by(&made.metadata, "ds"));
    let tolerated = made.spec.as_ref().and_then(|spec| spec.tolerations.as_ref()).map_or(0, Vec::len);
    assert_eq!(tolerated, 6);
    let status = plan.status.expect("is told");
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (2, 0));
    assert_eq!(status.number_unavailable, Some(2));
}

#[test]
fn a_node_that_is_not_meant_any_more_loses_its_pod_unless_it_may_stay() {
    let nodes = vec![
        node("a", &json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" }] } })),
        node("b", &json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoExecute" }] } })),
    ];
    let pods = vec![pod("on-a", "a", "new", &json!({})), pod("on-b", "b", "new", &json!({}))];
    let plan = World::new(set(&json!({})), nodes, pods).plan();
    assert_eq!((names(&plan.delete), plan.create.len()), (vec!["on-b"], 0));
    assert_eq!(plan.status.map(|status| status.number_misscheduled), Some(2));
}

#[test]
fn of_two_pods_on_a_node_the_younger_goes_and_one_that_ends_is_waited_for() {
    let young = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:10:00Z" } });
    let pods = vec![
        pod("old", "a", "new", &json!({})),
        pod("young", "a", "new", &young),
        pod("ends", "b", "new", &going()),
    ];
    let plan = World::new(set(&json!({})), three(), pods).plan();
    assert_eq!((names(&plan.delete), targets(&plan)), (vec!["young"], vec!["c"]));
}

#[test]
fn a_pod_that_failed_is_replaced_after_a_pause_that_grows() {
    let failed = json!({ "status": { "phase": "Failed" } });
    let nodes = vec![node("a", &json!({}))];
    let mut world = World::new(set(&json!({})), nodes, vec![pod("x", "a", "new", &failed)]);
    let first = world.plan();
    assert_eq!((names(&first.delete), first.events[0].1), (vec!["x"], "FailedDaemonPod"));
    world.view.note_failures(&World::key(), &first.failed_on, now());
    let second = world.plan();
    assert_eq!((second.delete.len(), second.requeue_after), (0, Some(Duration::from_secs(1))));
    world.view.note_failures(&World::key(), &first.failed_on, now());
    assert_eq!(world.plan().requeue_after, Some(Duration::from_secs(2)));
}

#[test]
fn an_update_takes_as_many_pods_as_may_be_missing_and_those_first_that_do_not_serve() {
    let old = |name: &str, node: &str, more: &Value| pod(name, node, "old", more);
    let all = vec![old("on-a", "a", &json!({})), old("on-b", "b", &json!({})), old("on-c", "c", &json!({}))];
    let one = World::new(set(&json!({})), three(), all.clone()).plan();
    assert_eq!(names(&one.delete), ["on-a"]);
    let two = set(&json!({ "updateStrategy": { "rollingUpdate": { "maxUnavailable": "50%" } } }));
    assert_eq!(names(&World::new(two, three(), all.clone()).plan().delete), ["on-a", "on-b"], "rounded up");
    let broken =
        vec![old("on-a", "a", &json!({})), old("on-b", "b", &unready()), old("on-c", "c", &json!({}))];
    assert_eq!(names(&World::new(set(&json!({})), three(), broken).plan().delete), ["on-b", "on-a"]);
    let started = vec![
        pod("new-a", "a", "new", &unready()),
        old("on-b", "b", &json!({})),
        old("on-c", "c", &json!({})),
    ];
    let waiting = World::new(set(&json!({})), three(), started).plan();
    assert!(waiting.delete.is_empty() && waiting.create.is_empty());
    assert_eq!(waiting.status.and_then(|status| status.updated_number_scheduled), Some(1));
    let by_hand = set(&json!({ "updateStrategy": { "type": "OnDelete" } }));
    assert!(World::new(by_hand, three(), all).plan().delete.is_empty());
}

#[test]
fn an_update_with_surge_adds_a_pod_and_takes_the_old_one_when_that_serves() {
    let surge =
        || set(&json!({ "updateStrategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } } }));
    let olds = || ["a", "b", "c"].map(|node| pod(&format!("old-{node}"), node, "old", &json!({}))).to_vec();
    let first = World::new(surge(), three(), olds()).plan();
    assert_eq!((targets(&first), first.delete.len()), (vec!["a"], 0));
    let mut pods = olds();
    pods.push(pod("new-a", "a", "new", &unready()));
    let second = World::new(surge(), three(), pods).plan();
    assert_eq!(
        (targets(&second), names(&second.delete)),
        (vec![], vec![]),
        "both stay until the new one serves"
    );
    let mut pods = olds();
    pods.push(pod("new-a", "a", "new", &json!({})));
    let third = World::new(surge(), three(), pods).plan();
    assert_eq!(names(&third.delete), ["old-a"]);
}

#[test]
fn the_present_template_is_the_newest_revision_and_old_ones_are_forgotten() {
    let image =
        |tag: &str| json!({ "template": { "spec": { "containers": [{ "name": "c", "image": tag }] } } });
    let fresh = World::with(set(&json!({})), vec![], vec![], vec![]).plan();
    let Some(Write::Create(new)) = fresh.revision else { panic!("a revision is made") };
    assert_eq!(new.revision, Some(1));
    let hash = new.metadata.labels.as_ref().map(|labels| labels["controller-revision-hash"].clone());
    assert_eq!(new.metadata.name, hash.map(|hash| format!("log-{hash}")));
    let revisions = vec![
        revision(&set(&json!({})), "first", 1),
        revision(&set(&image("i:3")), "second", 2),
        revision(&set(&image("i:4")), "third", 3),
    ];
    let pods = vec![pod("x", "a", "third", &json!({}))];
    let limited = set(&json!({ "revisionHistoryLimit": 0 }));
    let back = World::with(limited, three(), pods, revisions).plan();
    let raised = Write::Raise { name: "log-first".to_owned(), resource_version: "7".to_owned(), number: 4 };
    assert_eq!(back.revision, Some(raised));
    assert_eq!(names(&back.forget), ["log-second"], "the third is in use");
}

#[test]
fn a_heartbeat_of_a_node_touches_nothing_and_a_taint_does() {
    let mut world = World::new(set(&json!({})), three(), vec![]);
    let beat = node("a", &json!({ "status": { "nodeInfo": null } }));
    assert!(world.view.apply(Event::Nodes(Change::Apply(Arc::new(beat)))).is_empty());
    let taint = json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoExecute" }] } });
    let touched = world.view.apply(Event::Nodes(Change::Apply(Arc::new(node("a", &taint)))));
    assert_eq!(touched.into_iter().collect::<Vec<_>>(), [World::key()]);
    assert_eq!(targets(&world.plan()), ["b", "c"]);
}

#[test]
fn pods_are_available_once_they_have_been_ready_for_long_enough() {
    let fresh = json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:40Z" },
    ] } });
    let patient = set(&json!({ "minReadySeconds": 60 }));
    let plan = World::new(patient, vec![node("a", &json!({}))], vec![pod("x", "a", "new", &fresh)]).plan();
    let status = plan.status.expect("is told");
    assert_eq!((status.number_ready, status.number_available, status.number_unavailable), (1, None, Some(1)));
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(40)));
}
