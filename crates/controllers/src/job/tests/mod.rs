//! Decisions about jobs: who is made, who is counted, when it is over.

mod properties;

use std::sync::Arc;
use std::time::Duration;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use model::encoded::Revision;
use model::job;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::view::{Event, Key, View};
use crate::writes::Named;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().expect("is a time")
}

fn job(spec: &Value, status: &Value) -> Job {
    let mut job = json!({
        "metadata": { "name": "sum", "namespace": "default", "uid": "j" },
        "spec": {
            "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "selector": { "matchLabels": { job::CONTROLLER_UID: "j" } },
            "template": {
                "metadata": { "labels": { job::CONTROLLER_UID: "j" } },
                "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] },
            },
        },
        "status": { "startTime": "2026-01-01T00:59:00Z" },
    });
    model::patch::merge(&mut job["spec"], spec);
    model::patch::merge(&mut job["status"], status);
    serde_json::from_value(job).expect("is a job")
}

fn indexed(completions: u32, spec: &Value, status: &Value) -> Job {
    let mut all =
        json!({ "completionMode": "Indexed", "completions": completions, "parallelism": completions });
    model::patch::merge(&mut all, spec);
    job(&all, status)
}

fn pod(name: &str, phase: &str, more: &Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-01-01T00:59:00Z",
            "labels": { job::CONTROLLER_UID: "j" },
            "finalizers": [job::TRACKING],
            "ownerReferences": [
                { "apiVersion": "batch/v1", "kind": "Job", "name": "sum", "uid": "j", "controller": true },
            ],
        },
        "spec": { "containers": [], "nodeName": "a" },
        "status": { "phase": phase },
    });
    model::patch::merge(&mut pod, more);
    serde_json::from_value(pod).expect("is a pod")
}

fn at_index(index: u32, phase: &str) -> Pod {
    let mark = json!({ job::COMPLETION_INDEX: index.to_string(), job::INDEX_FAILURES: "0" });
    pod(&format!("p{index}"), phase, &json!({ "metadata": { "annotations": mark } }))
}

fn ended(code: i32, finished: &str) -> Value {
    let terminated = json!({ "exitCode": code, "finishedAt": finished });
    json!({ "status": { "containerStatuses": [
        { "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
          "state": { "terminated": terminated } },
    ] } })
}

struct World {
    view: View,
}

impl World {
    fn new(job: Job, pods: Vec<Pod>) -> World {
        let mut view = View::default();
        view.apply(Event::Jobs(Change::Reset(vec![Arc::new(job)], Revision(1))));
        view.apply(Event::Pods(Change::Reset(pods.into_iter().map(Arc::new).collect(), Revision(1))));
        World { view }
    }

    /// Decides, as the loop does, and shows the status that was written.
    fn decide(&mut self, now: Timestamp) -> Plan {
        let key = ObjectKey::new("default", "sum");
        let seen = self.view.job(&key).expect("is there");
        let job = Arc::clone(seen.job);
        let plan = plan(&seen, now);
        self.view.note_ended(&job, &plan.ended);
        if let Some(status) = plan.status.clone() {
            let job = Job { status: Some(status), ..(*job).clone() };
            self.view.apply(Event::Jobs(Change::Apply(Arc::new(job))));
        }
        plan
    }

    /// A pod as it is now.
    fn show(&mut self, pod: Pod) {
        self.view.apply(Event::Pods(Change::Apply(Arc::new(pod))));
    }
}

fn planned(job: Job, pods: Vec<Pod>) -> Plan {
    World::new(job, pods).decide(now())
}

fn names(all: &[Named]) -> Vec<&str> {
    all.iter().map(|one| one.name.as_str()).collect()
}

fn conditions(status: &JobStatus) -> Vec<(&str, &str)> {
    let all = status.conditions.iter().flatten();
    all.map(|one| (one.type_.as_str(), one.reason.as_deref().unwrap_or_default())).collect()
}

fn untracked(mut pod: Pod) -> Pod {
    pod.metadata.finalizers = None;
    pod
}

#[test]
fn a_new_job_has_as_many_pods_as_may_run_at_once_and_each_waits_to_be_counted() {
    let plan =
        planned(job(&json!({ "completions": 5, "parallelism": 2 }), &json!({ "startTime": null })), vec![]);
    assert_eq!(plan.create.len(), 2);
    let made = &plan.create[0];
    assert_eq!(made.metadata.generate_name.as_deref(), Some("sum-"));
    assert!(job::is_tracked(made) && model::meta::is_controlled_by(&made.metadata, "j"));
    let status = plan.status.expect("is told");
    assert_eq!((status.active, status.ready, status.terminating), (Some(2), Some(0), Some(0)));
    assert!(status.start_time.is_some() && status.conditions.is_none());
    let one =
        planned(job(&json!({ "completions": 5, "parallelism": 9 }), &json!({ "succeeded": 3 })), vec![]);
    assert_eq!(one.create.len(), 2, "no more than there are completions left");
}

#[test]
fn a_pod_is_named_then_let_go_then_counted_and_the_job_ends_when_all_are() {
    let mut world = World::new(job(&json!({}), &json!({})), vec![pod("a", "Succeeded", &json!({}))]);
    let first = world.decide(now());
    let status = first.status.expect("is told");
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    assert_eq!(uncounted.succeeded, Some(vec!["uid-a".to_owned()]));
    assert_eq!((status.succeeded, names(&first.untrack)), (None, vec!["a"]));
    assert_eq!(conditions(&status), [("SuccessCriteriaMet", "CompletionsReached")]);
    assert_eq!(names(&world.decide(now()).untrack), ["a"], "what was cut off is taken up again");
    world.show(untracked(pod("a", "Succeeded", &json!({}))));
    let second = world.decide(now());
    let status = second.status.expect("is told");
    assert_eq!(status.succeeded, Some(1));
    let expected = [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")];
    assert_eq!(conditions(&status), expected);
    assert!(status.completion_time.is_some() && second.create.is_empty());
    assert_eq!(second.told[0].1, "Completed");
    let third = world.decide(now());
    assert_eq!((third.status, third.create.len()), (None, 0), "a job that is over stays as it is");
}

#[test]
fn failures_are_waited_after_ten_seconds_and_twice_as_long_each_time() {
    let failed = |name: &str, finished: &str| {
        let mut more = json!({});
        model::patch::merge(&mut more, &ended(1, finished));
        pod(name, "Failed", &more)
    };
    let mut world = World::new(job(&json!({}), &json!({})), vec![failed("a", "2026-01-01T00:59:58Z")]);
    let plan = world.decide(now());
    assert_eq!((plan.create.len(), plan.requeue_after), (0, Some(Duration::from_secs(8))));
    let uncounted = plan.status.and_then(|status| status.uncounted_terminated_pods).unwrap_or_default();
    assert_eq!(uncounted.failed, Some(vec!["uid-a".to_owned()]));
    world.show(untracked(failed("a", "2026-01-01T00:59:58Z")));
    assert_eq!(world.decide(now() + SignedDuration::from_secs(8)).create.len(), 1);
    world.show(failed("b", "2026-01-01T01:00:20Z"));
    let plan = world.decide(now() + SignedDuration::from_secs(21));
    assert_eq!((plan.create.len(), plan.requeue_after), (0, Some(Duration::from_secs(19))));
}

#[test]
fn a_job_fails_when_too_many_pods_have_or_its_time_is_over_and_takes_down_who_runs() {
    let limit = job(&json!({ "backoffLimit": 0, "completions": 3, "parallelism": 2 }), &json!({}));
    let mut world = World::new(limit, vec![pod("a", "Failed", &json!({})), pod("b", "Running", &json!({}))]);
    let plan = world.decide(now());
    assert_eq!((names(&plan.delete), names(&plan.untrack)), (vec!["b"], vec!["a", "b"]));
    let status = plan.status.expect("is told");
    assert_eq!(conditions(&status), [("FailureTarget", "BackoffLimitExceeded")]);
    assert_eq!((status.active, status.terminating), (None, Some(1)));
    let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T01:00:30Z", "finalizers": null } });
    world.show(untracked(pod("a", "Failed", &json!({}))));
    world.show(pod("b", "Running", &going));
    let status = world.decide(now()).status.expect("is told");
    assert_eq!(status.failed, Some(2), "who was taken down failed too");
    assert_eq!(conditions(&status).len(), 1, "it is not over while a pod is");
    world.view.apply(Event::Pods(Change::Delete(Arc::new(pod("b", "Running", &going)))));
    let plan = world.decide(now());
    let status = plan.status.expect("is told");
    assert_eq!(conditions(&status)[1], ("Failed", "BackoffLimitExceeded"));
    assert_eq!(plan.told[0].2, "Job has reached the specified backoff limit");
    let late = planned(job(&json!({ "activeDeadlineSeconds": 60 }), &json!({})), vec![]);
    let status = late.status.expect("is told");
    assert_eq!(conditions(&status)[0], ("FailureTarget", "DeadlineExceeded"));
    let in_time = planned(job(&json!({ "activeDeadlineSeconds": 70 }), &json!({})), vec![]);
    assert_eq!((in_time.create.len(), in_time.requeue_after), (1, Some(Duration::from_secs(10))));
}

#[test]
fn restarts_of_containers_are_failures_where_pods_start_them_again() {
    let spec = json!({ "backoffLimit": 2, "template": { "spec": { "restartPolicy": "OnFailure" } } });
    let restarted = |count: i32| {
        let statuses =
            json!([{ "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": count }]);
        pod("a", "Running", &json!({ "status": { "containerStatuses": statuses } }))
    };
    assert!(planned(job(&spec, &json!({})), vec![restarted(1)]).delete.is_empty());
    assert_eq!(names(&planned(job(&spec, &json!({})), vec![restarted(2)]).delete), ["a"]);
}

#[test]
fn each_index_has_one_pod_that_knows_it_and_is_done_once() {
    let mut world = World::new(indexed(3, &json!({}), &json!({})), vec![]);
    let plan = world.decide(now());
    let prefixes: Vec<_> = plan.create.iter().filter_map(|one| one.metadata.generate_name.clone()).collect();
    assert_eq!(prefixes, ["sum-0-", "sum-1-", "sum-2-"]);
    let spec = plan.create[1].spec.clone().expect("has a spec");
    assert_eq!(spec.hostname.as_deref(), Some("sum-1"));
    let variable = &spec.containers[0].env.as_ref().expect("has variables")[0];
    let field = variable.value_from.as_ref().and_then(|source| source.field_ref.clone()).expect("a field");
    assert_eq!(variable.name, "JOB_COMPLETION_INDEX");
    assert_eq!(field.field_path, "metadata.labels['batch.kubernetes.io/job-completion-index']");
    assert_eq!(job::completion_index(&plan.create[2]), Some(2));
    for one in [at_index(0, "Succeeded"), at_index(1, "Running"), at_index(2, "Succeeded")] {
        world.show(one);
    }
    let plan = world.decide(now());
    let status = plan.status.expect("is told");
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("0,2"), Some(2)));
    assert_eq!(status.uncounted_terminated_pods.unwrap_or_default().succeeded, None);
    assert_eq!((names(&plan.untrack), plan.create.len()), (vec!["p0", "p2"], 0));
}

#[test]
fn of_two_pods_with_one_index_one_goes_and_counts_for_nothing() {
    let twin =
        pod("twin", "Pending", &json!({ "metadata": { "annotations": { job::COMPLETION_INDEX: "0" } } }));
    let beyond =
        pod("beyond", "Running", &json!({ "metadata": { "annotations": { job::COMPLETION_INDEX: "7" } } }));
    let pods = vec![at_index(0, "Running"), at_index(1, "Running"), twin, beyond];
    let plan = planned(indexed(2, &json!({}), &json!({})), pods);
    assert_eq!((names(&plan.dismiss), plan.untrack.len()), (vec!["beyond", "twin"], 0));
}

#[test]
fn an_index_fails_by_itself_after_as_many_tries_as_it_has() {
    let spec = json!({ "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX });
    let failed = |failures: &str, at: &str| {
        let mut more = ended(1, at);
        let marks = json!({ job::COMPLETION_INDEX: "0", job::INDEX_FAILURES: failures });
        model::patch::merge(&mut more, &json!({ "metadata": { "annotations": marks } }));
        pod(&format!("try-{failures}"), "Failed", &more)
    };
    let first = failed("0", "2026-01-01T00:59:00Z");
    let mut world = World::new(indexed(2, &spec, &json!({})), vec![first.clone(), at_index(1, "Running")]);
    let plan = world.decide(now());
    assert!(plan.untrack.is_empty(), "it stays until its successor is there");
    let annotations = plan.create[0].metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations[job::INDEX_FAILURES], "1");
    assert_eq!(plan.status.and_then(|status| status.failed_indexes).as_deref(), Some(""));
    world.show(failed("1", "2026-01-01T00:59:30Z"));
    let plan = world.decide(now());
    let status = plan.status.expect("is told");
    assert_eq!(status.failed_indexes.as_deref(), Some("0"));
    assert_eq!((plan.create.len(), conditions(&status).len()), (0, 0), "the other goes on");
    world.show(at_index(1, "Succeeded"));
    let status = world.decide(now()).status.expect("is told");
    assert_eq!(conditions(&status), [("FailureTarget", "FailedIndexes")]);
    let strict = json!({ "backoffLimitPerIndex": 0, "maxFailedIndexes": 0, "backoffLimit": i32::MAX });
    let plan = planned(indexed(2, &strict, &json!({})), vec![at_index(0, "Failed"), at_index(1, "Running")]);
    assert_eq!(names(&plan.delete), ["p1"]);
    let status = plan.status.expect("is told");
    assert_eq!(conditions(&status), [("FailureTarget", "MaxFailedIndexesExceeded")]);
}

#[test]
fn the_policy_says_which_failures_count_and_which_end_the_job() {
    let codes = |code: i32| json!({ "operator": "In", "values": [code] });
    let rules = json!([
        { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
        { "action": "FailJob", "onExitCodes": codes(42) },
    ]);
    let spec = json!({ "backoffLimit": 0, "podReplacementPolicy": "Failed", "podFailurePolicy": { "rules": rules } });
    let disrupted = json!({ "status": { "conditions": [{ "type": "DisruptionTarget", "status": "True" }] } });
    let plan = planned(job(&spec, &json!({})), vec![pod("a", "Failed", &disrupted)]);
    assert_eq!(names(&plan.untrack), ["a"]);
    let status = plan.status.expect("is told");
    assert_eq!(status.uncounted_terminated_pods.unwrap_or_default().failed, None);
    assert!(status.conditions.is_none());
    let plan = planned(job(&spec, &json!({})), vec![pod("b", "Failed", &ended(42, "2026-01-01T00:59:00Z"))]);
    let condition = plan.status.and_then(|status| status.conditions).expect("is told").remove(0);
    assert_eq!(condition.reason.as_deref(), Some("PodFailurePolicy"));
    let message = "Container c for pod default/b failed with exit code 42 matching FailJob rule at index 1";
    assert_eq!(condition.message.as_deref(), Some(message));
}

#[test]
fn a_pod_on_its_way_out_is_replaced_at_once_or_when_it_is_over() {
    let going = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:58:00Z" } });
    let at_once = planned(job(&json!({}), &json!({})), vec![pod("a", "Running", &going)]);
    assert_eq!((at_once.create.len(), names(&at_once.untrack)), (1, vec!["a"]));
    let patient = json!({ "podReplacementPolicy": "Failed" });
    let later = planned(job(&patient, &json!({})), vec![pod("a", "Running", &going)]);
    assert_eq!((later.create.len(), later.untrack.len()), (0, 0));
}

#[test]
fn a_suspended_job_has_no_pods_and_begins_its_time_anew() {
    let suspended = job(&json!({ "suspend": true }), &json!({}));
    let plan = planned(suspended, vec![pod("a", "Running", &json!({}))]);
    assert_eq!((names(&plan.dismiss), plan.untrack.len()), (vec!["a"], 0));
    let status = plan.status.expect("is told");
    assert_eq!(conditions(&status), [("Suspended", "JobSuspended")]);
    let told = json!({ "conditions": [
        { "type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended" },
    ] });
    let plan = planned(job(&json!({ "suspend": false }), &told), vec![]);
    let status = plan.status.expect("is told");
    assert_eq!(conditions(&status), [("Suspended", "JobResumed")]);
    assert_eq!((plan.create.len(), status.start_time.map(|time| time.0)), (1, Some(now())));
    assert_eq!(plan.told[0].1, "Resumed");
}

#[test]
fn a_success_policy_ends_the_job_with_the_indexes_it_asks_for() {
    let rules = json!({ "rules": [{ "succeededIndexes": "0-1", "succeededCount": 1 }] });
    let spec = json!({ "successPolicy": rules });
    let plan = planned(indexed(3, &spec, &json!({})), vec![at_index(0, "Running"), at_index(1, "Succeeded")]);
    assert_eq!(names(&plan.delete), ["p0"]);
    let status = plan.status.expect("is told");
    assert_eq!(conditions(&status), [("SuccessCriteriaMet", "SuccessPolicy")]);
    assert_eq!(status.uncounted_terminated_pods.unwrap_or_default().failed, None);
}

#[test]
fn a_job_that_is_over_goes_after_its_time() {
    let finished = json!({ "conditions": [
        { "type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:59:30Z" },
    ] });
    let plan = planned(job(&json!({ "ttlSecondsAfterFinished": 40 }), &finished), vec![]);
    assert_eq!((plan.expire, plan.requeue_after), (false, Some(Duration::from_secs(10))));
    assert!(planned(job(&json!({ "ttlSecondsAfterFinished": 30 }), &finished), vec![]).expire);
    let left = planned(job(&json!({}), &finished), vec![pod("a", "Succeeded", &json!({}))]);
    assert_eq!((names(&left.untrack), left.expire), (vec!["a"], false));
}

#[test]
fn a_pod_whose_job_is_gone_is_let_go() {
    let mut world = World::new(job(&json!({}), &json!({})), vec![pod("a", "Running", &json!({}))]);
    let key = ObjectKey::new("default", "a");
    assert!(world.view.orphan(&key).is_none());
    let gone = Arc::new(job(&json!({}), &json!({})));
    let touched = world.view.apply(Event::Jobs(Change::Delete(gone)));
    assert_eq!(touched.into_iter().collect::<Vec<_>>(), [Key::Orphan(key.clone())]);
    assert!(world.view.orphan(&key).is_some());
}

#[test]
fn a_job_that_somebody_else_looks_after_is_left_alone() {
    let plan = planned(job(&json!({ "managedBy": "acme.io/jobs" }), &json!({})), vec![]);
    assert_eq!(plan, Plan::default());
}

#[test]
fn a_pod_that_is_over_and_counted_is_forgotten() {
    let world = World::new(job(&json!({}), &json!({})), vec![untracked(pod("a", "Succeeded", &json!({})))]);
    let seen = world.view.job(&ObjectKey::new("default", "sum")).expect("is there");
    assert!(seen.pods.is_empty());
}
