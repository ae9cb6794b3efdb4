//! What is decided about budgets, without an API.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Change, Typed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus;
use model::encoded::Revision;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::view::{Event, View};

const START: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().expect("is a time") + SignedDuration::from_secs(seconds)
}

fn object<K: Typed>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).expect("is of its kind"))
}

fn set(name: &str, replicas: i32) -> Event {
    Event::StatefulSets(Change::Apply(object(json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("set-{name}")},
        "spec": {"replicas": replicas, "selector": {}, "serviceName": name, "template": {}},
    }))))
}

fn pod_of(kind: &str, owner: &str, name: &str, ready: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": START,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": owner, "controller": true,
            }],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn pod(name: &str, ready: &str) -> Event {
    Event::Pods(Change::Apply(object::<Pod>(pod_of("StatefulSet", "set-web", name, ready))))
}

fn terminating(name: &str) -> Event {
    let mut pod = pod_of("StatefulSet", "set-web", name, "True");
    pod["metadata"]["deletionTimestamp"] = START.into();
    Event::Pods(Change::Apply(object::<Pod>(pod)))
}

fn budget(spec: Value, status: Value) -> Event {
    let mut budget = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "budget", "generation": 1},
        "spec": spec,
        "status": status,
    });
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    Event::Budgets(Change::Apply(object(budget)))
}

fn key() -> ObjectKey {
    ObjectKey::new("default", "web")
}

fn world(events: impl IntoIterator<Item = Event>) -> View {
    let mut view = View::default();
    view.apply(Event::Budgets(Change::Reset(Vec::new(), Revision(1))));
    view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
    view.apply(Event::StatefulSets(Change::Reset(Vec::new(), Revision(1))));
    for event in events {
        view.apply(event);
    }
    view
}

/// Three ready pods of a set of three.
fn three() -> View {
    world([set("web", 3), pod("web-0", "True"), pod("web-1", "True"), pod("web-2", "True")])
}

fn decide(view: &View, seconds: i64) -> Plan {
    plan(&view.budget(&key()).expect("is there"), at(seconds))
}

fn status(view: &View, seconds: i64) -> PodDisruptionBudgetStatus {
    decide(view, seconds).status.expect("must be written")
}

/// Expected pods, healthy ones, those that must be, and how many may go.
fn counts(status: &PodDisruptionBudgetStatus) -> [i32; 4] {
    [status.expected_pods, status.current_healthy, status.desired_healthy, status.disruptions_allowed]
        .map(Option::unwrap_or_default)
}

fn condition(status: &PodDisruptionBudgetStatus) -> (String, String) {
    let condition = &status.conditions.as_ref().expect("has some")[0];
    assert_eq!(condition.type_, "DisruptionAllowed");
    (condition.status.clone(), condition.reason.clone())
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.notices.iter().map(|notice| notice.reason).collect()
}

#[test]
fn each_form_of_a_bound_is_a_number_of_pods() {
    for (spec, expected) in [
        (json!({"maxUnavailable": 1}), [3, 3, 2, 1]),
        (json!({"maxUnavailable": 0}), [3, 3, 3, 0]),
        (json!({"maxUnavailable": 9}), [3, 3, 0, 3]),
        // A part of a pod counts as one, in either bound.
        (json!({"maxUnavailable": "34%"}), [3, 3, 1, 2]),
        (json!({"minAvailable": "34%"}), [3, 3, 2, 1]),
        (json!({"minAvailable": "100%"}), [3, 3, 3, 0]),
        (json!({"minAvailable": 2}), [3, 3, 2, 1]),
        (json!({"minAvailable": 5}), [3, 3, 5, 0]),
        (json!({}), [0, 3, 0, 0]),
    ] {
        let mut view = three();
        view.apply(budget(spec.clone(), json!({})));
        let status = status(&view, 0);
        assert_eq!(counts(&status), expected, "{spec}");
        assert_eq!(status.observed_generation, Some(1));
        let word = if expected[3] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        assert_eq!(condition(&status), (word.0.to_owned(), word.1.to_owned()), "{spec}");
    }
}

#[test]
fn pods_that_are_missing_not_ready_or_going_are_not_healthy() {
    let mut view = three();
    view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
    view.apply(pod("web-0", "False"));
    assert_eq!(counts(&status(&view, 0)), [3, 2, 2, 0]);
    view.apply(pod("web-0", "True"));
    view.apply(terminating("web-1"));
    assert_eq!(counts(&status(&view, 0)), [3, 2, 2, 0]);
    view.apply(Event::Pods(Change::Delete(object(pod_of("StatefulSet", "set-web", "web-1", "True")))));
    assert_eq!(counts(&status(&view, 0)), [3, 2, 2, 0], "the set still wants three");
    view.apply(pod("web-1", "True"));
    assert_eq!(counts(&status(&view, 0)), [3, 3, 2, 1]);
}

#[test]
fn what_is_written_already_is_not_written_again() {
    let mut view = three();
    view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
    let written = serde_json::to_value(status(&view, 0)).expect("encodes");
    view.apply(budget(json!({"maxUnavailable": 1}), written));
    assert_eq!(decide(&view, 100), Plan::default());
}

#[test]
fn an_evicted_pod_counts_as_gone_until_two_minutes_have_passed() {
    let mut view = three();
    let charged =
        json!({"disruptedPods": {"web-1": "2026-01-01T00:00:10Z", "web-7": "2026-01-01T00:00:10Z"}});
    view.apply(budget(json!({"maxUnavailable": 1}), charged));
    let plan = decide(&view, 20);
    let status = plan.status.clone().expect("must be written");
    assert_eq!(counts(&status), [3, 2, 2, 0]);
    let names: Vec<String> = status.disrupted_pods.into_iter().flatten().map(|(name, _)| name).collect();
    assert_eq!(names, ["web-1"], "who is not there is forgotten");
    assert_eq!(plan.requeue_after.map(|left| left.as_secs()), Some(110));
    let plan = decide(&view, 130);
    assert_eq!(counts(&plan.status.clone().expect("must be written")), [3, 3, 2, 1]);
    let names: Vec<_> = plan.not_deleted.iter().map(|pod| pod.metadata.name.clone()).collect();
    assert_eq!(names, [Some("web-1".to_owned())]);
}

#[test]
fn an_evicted_pod_that_is_going_is_not_counted_twice() {
    let mut view = three();
    let charged = json!({"disruptedPods": {"web-1": "2026-01-01T00:00:10Z"}});
    view.apply(budget(json!({"maxUnavailable": 2}), charged));
    view.apply(terminating("web-1"));
    let status = status(&view, 20);
    assert_eq!((counts(&status), status.disrupted_pods), ([3, 2, 1, 1], None));
}

#[test]
fn a_pod_that_took_the_name_of_an_evicted_one_counts() {
    let mut view = three();
    let charged = json!({"disruptedPods": {"web-1": "2025-12-31T23:59:50Z"}});
    view.apply(budget(json!({"maxUnavailable": 1}), charged));
    let status = status(&view, 1);
    assert_eq!((counts(&status), status.disrupted_pods), ([3, 3, 2, 1], None));
}

#[test]
fn where_the_pods_cannot_be_counted_none_may_go() {
    let mut view = three();
    let before = json!({"disruptionsAllowed": 1, "currentHealthy": 3, "observedGeneration": 1});
    view.apply(budget(json!({"maxUnavailable": 1}), before));
    view.apply(Event::Pods(Change::Apply(object(pod_of("Job", "job", "job-a", "True")))));
    let plan = decide(&view, 0);
    assert_eq!(reasons(&plan), ["CalculateExpectedPodCountFailed"]);
    let status = plan.status.expect("must be written");
    assert_eq!(counts(&status), [0, 3, 0, 0], "nothing else is touched");
    assert_eq!(condition(&status), ("False".to_owned(), "SyncFailed".to_owned()));
    let message = &status.conditions.as_ref().expect("has some")[0].message;
    assert_eq!(message, "found no controllers for pod \"job-a\"");
    view.apply(budget(json!({"maxUnavailable": 1}), serde_json::to_value(&status).expect("encodes")));
    assert!(decide(&view, 9).is_quiet(), "it is said once");
}

#[test]
fn pods_of_a_kind_that_says_no_replicas_are_told_by_their_kind() {
    for (version, kind, expected) in [
        ("batch/v1", "Job", "jobs.batch does not implement the scale subresource"),
        ("apps/v1", "DaemonSet", "daemonsets.apps does not implement the scale subresource"),
        ("v1", "Node", "nodes does not implement the scale subresource"),
        ("apps/v1", "ReplicaSet", "found no controllers for pod \"other\""),
        ("example.com/v1", "Job", "found no controllers for pod \"other\""),
    ] {
        let mut view = three();
        view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
        let mut other = pod_of(kind, "other", "other", "True");
        other["metadata"]["ownerReferences"][0]["apiVersion"] = version.into();
        view.apply(Event::Pods(Change::Apply(object(other))));
        let plan = decide(&view, 0);
        let message = format!("Failed to calculate the number of expected pods: {expected}");
        assert_eq!(plan.notices[0].message, message);
        let status = plan.status.expect("must be written");
        assert_eq!(status.conditions.expect("has some")[0].message, expected);
        assert_eq!(status.disruptions_allowed, Some(0));
    }
}

#[test]
fn a_count_of_pods_needs_no_owner_and_a_share_tells_of_pods_without_one() {
    let mut bare = pod_of("StatefulSet", "set-web", "bare", "True");
    bare["metadata"]["ownerReferences"] = json!([]);
    let mut view = world([Event::Pods(Change::Apply(object(bare)))]);
    view.apply(budget(json!({"minAvailable": 0}), json!({})));
    let plan = decide(&view, 0);
    assert_eq!(counts(&plan.status.clone().expect("must be written")), [1, 1, 0, 1]);
    assert!(reasons(&plan).is_empty());
    view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
    let plan = decide(&view, 0);
    assert_eq!(counts(&plan.status.clone().expect("must be written")), [0, 1, 0, 0]);
    assert_eq!(reasons(&plan), ["UnmanagedPods"]);
    assert!(plan.notices[0].message.starts_with(
        "Pods selected by this PodDisruptionBudget (selector: app=web) were found to be unmanaged. As a result, \
         the status of the PDB cannot be calculated correctly"
    ));
}

#[test]
fn a_budget_without_pods_says_so_and_allows_nothing() {
    let mut view = world([]);
    view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
    let plan = decide(&view, 0);
    assert_eq!(reasons(&plan), ["NoPods"]);
    assert_eq!(counts(&plan.status.expect("must be written")), [0, 0, 0, 0]);
}

#[test]
fn the_replica_sets_of_a_deployment_count_as_the_deployment() {
    let mut view = world([]);
    let deployment = json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "deployment"},
        "spec": {"replicas": 4, "selector": {}, "template": {}},
    });
    for name in ["old", "new"] {
        let owned = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "deployment",
            "controller": true,
        }]);
        view.apply(Event::ReplicaSets(Change::Apply(object::<ReplicaSet>(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "ownerReferences": owned},
            "spec": {"replicas": 3, "selector": {}},
        })))));
        view.apply(Event::Pods(Change::Apply(object(pod_of("ReplicaSet", name, name, "True")))));
    }
    view.apply(budget(json!({"maxUnavailable": "25%"}), json!({})));
    assert_eq!(condition(&status(&view, 0)).1, "SyncFailed", "the Deployment is not known yet");
    let touched = view.apply(Event::Deployments(Change::Apply(object::<Deployment>(deployment))));
    assert_eq!(touched, BTreeSet::from([key()]));
    assert_eq!(counts(&status(&view, 0)), [4, 2, 3, 0]);
}

#[test]
fn only_what_makes_a_difference_touches_a_budget() {
    let mut view = three();
    view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
    let touched = BTreeSet::from([key()]);
    assert_eq!(view.apply(pod("web-0", "True")), BTreeSet::new());
    assert_eq!(view.apply(pod("web-0", "False")), touched);
    assert_eq!(view.apply(set("web", 3)), BTreeSet::new());
    assert_eq!(view.apply(set("web", 4)), touched);
    assert_eq!(view.apply(set("other", 4)), BTreeSet::new());
    let mut other = pod_of("StatefulSet", "set-web", "web-0", "False");
    other["metadata"]["labels"] = json!({"app": "db"});
    assert_eq!(view.apply(Event::Pods(Change::Apply(object(other)))), touched, "it has left");
    assert_eq!(counts(&status(&view, 0)), [4, 2, 3, 0]);
}

#[test]
fn a_picture_sent_anew_replaces_the_old_one() {
    let mut view = three();
    view.apply(budget(json!({"maxUnavailable": 1}), json!({})));
    let one = object::<Pod>(pod_of("StatefulSet", "set-web", "web-0", "True"));
    view.apply(Event::Pods(Change::Reset(vec![one], Revision(9))));
    assert_eq!(counts(&status(&view, 0)), [3, 1, 2, 0]);
    let sets = Change::<StatefulSet>::Reset(Vec::new(), Revision(9));
    assert_eq!(view.apply(Event::StatefulSets(sets)), BTreeSet::from([key()]));
    assert_eq!(condition(&status(&view, 0)).1, "SyncFailed");
    view.apply(Event::Budgets(Change::Reset(Vec::new(), Revision(9))));
    assert!(view.budget(&key()).is_none());
}
