//! Decisions about CronJobs: when a job is made, beside which others, and which go.

use std::sync::Arc;
use std::time::Duration;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use model::encoded::Revision;
use model::job::SCHEDULED_TIMESTAMP;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::view::{Event, View};
use crate::writes::Named;

/// Sixteen minutes and ten seconds after it was made.
const NOW: &str = "2026-01-01T01:16:10Z";

fn cron_job(spec: &Value, status: &Value) -> CronJob {
    let mut object = json!({
        "metadata": {
            "name": "tick", "namespace": "default", "uid": "cj", "resourceVersion": "5",
            "creationTimestamp": "2026-01-01T01:00:00Z",
        },
        "spec": {
            "schedule": "*/15 * * * *", "concurrencyPolicy": "Allow",
            "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": { "labels": { "app": "tick" } },
                "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [] } } },
            },
        },
        "status": {},
    });
    model::patch::merge(&mut object["spec"], spec);
    model::patch::merge(&mut object["status"], status);
    serde_json::from_value(object).expect("is a CronJob")
}

fn job(name: &str, more: &Value) -> Job {
    let mut object = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "annotations": { SCHEDULED_TIMESTAMP: "2026-01-01T01:00:00Z" },
            "ownerReferences": [
                { "apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "cj", "controller": true },
            ],
        },
        "spec": { "template": {} },
    });
    model::patch::merge(&mut object, more);
    serde_json::from_value(object).expect("is a job")
}

fn ended(kind: &str, at: &str) -> Value {
    json!({ "status": {
        "startTime": at, "completionTime": at, "conditions": [{ "type": kind, "status": "True" }],
    } })
}

fn active(names: &[&str]) -> Value {
    let references = names.iter().map(|name| json!({ "name": name, "uid": format!("uid-{name}") }));
    json!({ "active": references.collect::<Vec<_>>() })
}

fn key() -> ObjectKey {
    ObjectKey::new("default", "tick")
}

fn view(cron_job: CronJob, jobs: Vec<Job>) -> View {
    let mut view = View::default();
    view.apply(Event::CronJobs(Change::Reset(vec![Arc::new(cron_job)], Revision(9))));
    view.apply(Event::Jobs(Change::Reset(jobs.into_iter().map(Arc::new).collect(), Revision(9))));
    view
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("is a time")
}

fn planned(cron_job: CronJob, jobs: Vec<Job>) -> Plan {
    plan(&view(cron_job, jobs).cron_job(&key()).expect("is there"), at(NOW))
}

fn started(plan: &Plan) -> Option<&str> {
    plan.start.as_ref().and_then(|(job, _)| job.metadata.name.as_deref())
}

fn names(all: &[Named]) -> Vec<&str> {
    all.iter().map(|one| one.name.as_str()).collect()
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.events.iter().map(|(_, reason, _)| *reason).collect()
}

#[test]
fn the_moment_that_has_come_gets_a_job_that_is_named_after_it() {
    let plan = planned(cron_job(&json!({}), &json!({})), vec![]);
    // 01:15 on the first of January 2026 is minute 29,453,835.
    assert_eq!(started(&plan), Some("tick-29453835"));
    let (made, moment) = plan.start.as_ref().expect("is made");
    assert_eq!(*moment, at("2026-01-01T01:15:00Z"));
    let metadata = &made.metadata;
    assert_eq!(
        metadata.annotations.as_ref().map(|all| all[SCHEDULED_TIMESTAMP].as_str()),
        Some("2026-01-01T01:15:00Z")
    );
    assert_eq!(metadata.labels.as_ref().map(|all| all["app"].as_str()), Some("tick"));
    assert!(model::meta::is_controlled_by(metadata, "cj"));
    assert_eq!(plan.requeue_after, Some(Duration::from_millis(830_100)), "at half past, and a little");
    let done = cron_job(&json!({}), &json!({ "lastScheduleTime": "2026-01-01T01:15:00Z" }));
    assert_eq!(started(&planned(done, vec![])), None);
}

#[test]
fn a_moment_is_that_of_the_zone() {
    let zoned = json!({ "schedule": "15 2 * * *", "timeZone": "Europe/Berlin" });
    let plan = planned(cron_job(&zoned, &json!({})), vec![]);
    let annotations = plan.start.expect("is made").0.metadata.annotations.expect("has some");
    assert_eq!(annotations[SCHEDULED_TIMESTAMP], "2026-01-01T02:15:00+01:00");
    assert_eq!(started(&planned(cron_job(&json!({ "schedule": "15 2 * * *" }), &json!({})), vec![])), None);
}

#[test]
fn a_job_beside_another_is_made_or_not_or_in_its_place() {
    let running = active(&["tick-1"]);
    let of = |policy: &str| {
        planned(cron_job(&json!({ "concurrencyPolicy": policy }), &running), vec![job("tick-1", &json!({}))])
    };
    assert!(started(&of("Allow")).is_some() && of("Allow").replace.is_empty());
    let replaced = of("Replace");
    assert_eq!((names(&replaced.replace), replaced.status.active.is_none()), (vec!["tick-1"], true));
    assert!(started(&replaced).is_some());
    let forbidden = cron_job(&json!({ "concurrencyPolicy": "Forbid" }), &running);
    let mut view = view(forbidden, vec![job("tick-1", &json!({}))]);
    let first = plan(&view.cron_job(&key()).expect("is there"), at(NOW));
    assert_eq!((started(&first), reasons(&first)), (None, vec!["JobAlreadyActive"]));
    view.note_told(&key(), &first.noted);
    let second = plan(&view.cron_job(&key()).expect("is there"), at(NOW));
    assert!(second.events.is_empty(), "it is told once for a moment");
    view.apply(Event::Jobs(Change::Apply(Arc::new(job("tick-1", &ended("Complete", NOW))))));
    let late = plan(&view.cron_job(&key()).expect("is there"), at(NOW));
    assert!(started(&late).is_some(), "the moment is made up for");
}

#[test]
fn what_is_suspended_or_too_late_is_not_started() {
    let suspended = planned(cron_job(&json!({ "suspend": true }), &json!({})), vec![]);
    assert_eq!((started(&suspended), suspended.requeue_after), (None, None));
    assert_eq!(
        started(&planned(cron_job(&json!({ "startingDeadlineSeconds": 60 }), &json!({})), vec![])),
        None
    );
    assert!(
        started(&planned(cron_job(&json!({ "startingDeadlineSeconds": 80 }), &json!({})), vec![])).is_some()
    );
}

#[test]
fn a_moment_that_it_is_too_late_for_is_told_once() {
    let told = |plan: &Plan| plan.events.iter().map(|(_, _, text)| text.clone()).collect::<Vec<_>>();
    let mut view = view(cron_job(&json!({ "startingDeadlineSeconds": 60 }), &json!({})), vec![]);
    let decide = |view: &mut View, now: &str| {
        let plan = plan(&view.cron_job(&key()).expect("is there"), at(now));
        view.note_told(&key(), &plan.noted);
        plan
    };
    let first = decide(&mut view, NOW);
    assert_eq!((started(&first), reasons(&first)), (None, vec!["MissSchedule"]));
    assert_eq!(told(&first), ["Missed scheduled time to start a job: Thu, 01 Jan 2026 01:15:00 +0000"]);
    assert_eq!(first.requeue_after, Some(Duration::from_millis(830_100)), "the next has its own time");
    assert!(decide(&mut view, "2026-01-01T01:20:00Z").events.is_empty());
    let next = decide(&mut view, "2026-01-01T01:30:00.1Z");
    assert!(started(&next).is_some() && next.events.is_empty());
    // The next is missed too, and is another one.
    assert_eq!(reasons(&decide(&mut view, "2026-01-01T01:46:01Z")), ["MissSchedule"]);
    // What was made in time is not missed, and neither is what is to be late.
    let made = cron_job(
        &json!({ "startingDeadlineSeconds": 60 }),
        &json!({ "lastScheduleTime": "2026-01-01T01:15:00Z" }),
    );
    assert!(planned(made, vec![]).events.is_empty());
    // A pause is counted from the last job, not from the deadline.
    let every = planned(
        cron_job(&json!({ "schedule": "@every 16m", "startingDeadlineSeconds": 60 }), &json!({})),
        vec![],
    );
    assert!(started(&every).is_some() && every.events.is_empty());
}

#[test]
fn of_many_moments_that_were_missed_the_last_counts_and_that_is_told() {
    let long_ago = json!({ "lastScheduleTime": "2025-12-31T00:00:00Z" });
    let few = planned(cron_job(&json!({}), &long_ago), vec![]);
    assert_eq!(reasons(&few), ["TooManyMissedTimes"]);
    assert_eq!(started(&few), Some("tick-29453835"));
    let hourly = planned(cron_job(&json!({ "schedule": "@hourly" }), &long_ago), vec![]);
    assert!(hourly.events.is_empty() && started(&hourly).is_some());
}

#[test]
fn jobs_that_end_leave_the_list_and_the_last_success_is_remembered() {
    let status = active(&["tick-1", "tick-2", "gone"]);
    let jobs = vec![
        job("tick-1", &ended("Complete", "2026-01-01T01:01:00Z")),
        job("tick-2", &json!({})),
        job("tick-3", &json!({})),
        job("by-hand", &json!({ "metadata": { "annotations": null } })),
    ];
    let plan = planned(cron_job(&json!({ "suspend": true }), &status), jobs);
    let listed: Vec<_> = plan.status.active.iter().flatten().filter_map(|one| one.name.as_deref()).collect();
    assert_eq!(listed, ["tick-2", "tick-3"], "one that could not be listed is found again");
    assert_eq!(plan.status.last_successful_time.map(|time| time.0), Some(at("2026-01-01T01:01:00Z")));
    let told: Vec<&str> = plan.events.iter().map(|(_, _, text)| text.as_str()).collect();
    let expected = [
        "Saw a job that the controller did not create or forgot: by-hand",
        "Saw completed job: tick-1, condition: Complete",
        "Active job went missing: gone",
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_oldest_jobs_that_are_over_go_each_kind_by_its_own_limit() {
    let jobs = vec![
        job("c", &ended("Complete", "2026-01-01T01:03:00Z")),
        job("a", &ended("Complete", "2026-01-01T01:02:00Z")),
        job("b", &ended("Complete", "2026-01-01T01:01:00Z")),
        job("x", &ended("Failed", "2026-01-01T01:04:00Z")),
        job("y", &ended("Failed", "2026-01-01T01:00:00Z")),
    ];
    let spec = json!({ "successfulJobsHistoryLimit": 1, "suspend": true });
    assert_eq!(names(&planned(cron_job(&spec, &json!({})), jobs).prune), ["b", "a", "y"]);
}
