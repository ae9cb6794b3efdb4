//! Decisions about ReplicaSets: how many, who goes first, what the status says.

use std::sync::Arc;
use std::time::Duration;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use model::encoded::Revision;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::plan::{BURST_MAX, Plan, plan, pod_of};
use super::view::{Event, View};
use super::{ranks, status};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("is a time")
}

fn set(replicas: i32, more: &Value) -> ReplicaSet {
    let mut set = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "set", "generation": 3 },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web", "tier": "front" } } },
        },
    });
    model::patch::merge(&mut set, more);
    serde_json::from_value(set).expect("is a set")
}

fn pod(name: &str, more: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "app": "web", "tier": "front" },
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set",
                    "controller": true,
                },
            ],
        },
        "spec": { "containers": [], "nodeName": "a" },
        "status": {
            "phase": "Running",
            "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z" },
            ],
        },
    });
    model::patch::merge(&mut pod, more);
    serde_json::from_value(pod).expect("is a pod")
}

fn planned(set: ReplicaSet, pods: Vec<Pod>) -> Plan {
    let mut view = View::default();
    view.apply(Event::Sets(Change::Reset(vec![Arc::new(set)], Revision(1))));
    view.apply(Event::Pods(Change::Reset(pods.into_iter().map(Arc::new).collect(), Revision(1))));
    plan(&view.set(&ObjectKey::new("default", "web")).expect("is there"), now())
}

fn names(all: &[crate::writes::Named]) -> Vec<&str> {
    all.iter().map(|one| one.name.as_str()).collect()
}

#[test]
fn what_is_missing_is_made_and_what_is_over_or_ending_is_not_counted() {
    let pods = vec![
        pod("lives", &json!({})),
        pod("ended", &json!({ "status": { "phase": "Failed" } })),
        pod("ends", &json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:59:59Z" } })),
    ];
    let plan = planned(set(3, &json!({})), pods);
    assert_eq!((plan.create, plan.delete.len()), (2, 0));
    let status = plan.status.expect("is told");
    assert_eq!((status.replicas, status.ready_replicas, status.terminating_replicas), (1, Some(1), Some(1)));
    assert_eq!(planned(set(2_000, &json!({})), vec![]).create, BURST_MAX);
}

#[test]
fn a_set_that_is_deleted_makes_and_deletes_nothing() {
    let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:59:59Z" } });
    let plan = planned(set(3, &going), vec![]);
    assert_eq!((plan.create, plan.delete.len()), (0, 0));
}

#[test]
fn pods_that_nobody_owns_are_taken_in_and_those_that_are_selected_no_more_let_go_before_anything_else() {
    let orphan = json!({ "metadata": { "ownerReferences": null } });
    let stranger = json!({ "metadata": { "labels": { "app": "other" } } });
    let plan = planned(set(5, &json!({})), vec![pod("orphan", &orphan), pod("stranger", &stranger)]);
    assert_eq!(names(&plan.adopt), ["orphan"]);
    assert_eq!(names(&plan.release), ["stranger"]);
    assert_eq!((plan.create, plan.status), (0, None));
}

#[test]
fn the_pods_that_cost_least_to_lose_go_first() {
    let unassigned = json!({ "spec": { "nodeName": null } });
    let pending = json!({ "status": { "phase": "Pending" } });
    let unready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } });
    let cheap = json!({ "metadata": { "annotations": { ranks::DELETION_COST: "-10" } } });
    let dear = json!({ "metadata": { "annotations": { ranks::DELETION_COST: "10" } } });
    let late = json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:50Z" },
    ] } });
    let restarts = json!({ "status": { "containerStatuses": [
        { "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3 },
    ] } });
    let young = json!({ "metadata": { "creationTimestamp": "2026-01-01T00:45:00Z" } });
    let alone = json!({ "spec": { "nodeName": "b" } });
    let pods = vec![
        pod("h-dear", &dear),
        pod("g-usual", &json!({})),
        pod("i-alone", &alone),
        pod("e-restarts", &restarts),
        pod("d-late", &late),
        pod("f-young", &young),
        pod("c-cheap", &cheap),
        pod("b-unready", &unready),
        pod("a-pending", &pending),
        pod("0-unassigned", &unassigned),
    ];
    let plan = planned(set(1, &json!({})), pods);
    let order = [
        "0-unassigned",
        "a-pending",
        "b-unready",
        "c-cheap",
        "d-late",
        "e-restarts",
        "f-young",
        "g-usual",
        "i-alone",
    ];
    assert_eq!(names(&plan.delete), order, "the dear one stays");
}

#[test]
fn pods_are_available_once_they_have_been_ready_for_long_enough() {
    let fresh = json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:59:40Z" },
    ] } });
    let bare = json!({ "metadata": { "labels": { "tier": null } } });
    let patient = json!({ "spec": { "minReadySeconds": 60 } });
    let plan = planned(set(2, &patient), vec![pod("old", &bare), pod("new", &fresh)]);
    let status = plan.status.expect("is told");
    assert_eq!((status.ready_replicas, status.available_replicas), (Some(2), Some(1)));
    assert_eq!(status.fully_labeled_replicas, Some(1));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(plan.requeue_after, Some(Duration::from_secs(40)));
}

#[test]
fn a_failure_is_told_once_and_taken_back_when_it_is_over() {
    let fresh = set(1, &json!({}));
    let counted = status::of(&fresh, &[], 0, now());
    let failed = status::with_failure(&fresh, counted, "FailedCreate", "quota".to_owned(), now());
    let told = ReplicaSet { status: Some(failed.clone()), ..fresh };
    let again = status::of(&told, &[], 0, now());
    assert!(status::is_news(&told, &again), "it would be taken back");
    let later = now() + jiff::SignedDuration::from_secs(5);
    assert_eq!(status::with_failure(&told, again, "FailedCreate", "other".to_owned(), later), failed);
}

#[test]
fn a_pod_is_named_after_its_set_and_made_from_the_template() {
    let pod = pod_of(&set(1, &json!({})));
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(pod.metadata.labels.as_ref().and_then(|labels| labels["tier"].as_str().into()), Some("front"));
    assert!(model::meta::is_controlled_by(&pod.metadata, "set"));
}
