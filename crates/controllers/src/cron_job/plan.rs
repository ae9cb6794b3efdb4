//! What is to be done about a CronJob. Pure: the same view gives the same plan.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::{job, meta};
use reconcile::recorder::EventKind;

use super::jobs;
use super::timing::{Due, Timing};
use super::view::{CronJobView, Told};
use crate::writes::Named;

/// A time of UTC as mail has it.
const RFC_1123: &str = "%a, %d %b %Y %H:%M:%S +0000";

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Jobs to delete because another takes their place.
    pub replace: Vec<Named>,
    /// The job to make, and the moment that it is for.
    pub start: Option<(Box<Job>, Timestamp)>,
    /// The status that follows, but for what is started.
    pub status: CronJobStatus,
    /// What to tell.
    pub events: Vec<(EventKind, &'static str, String)>,
    /// Jobs that are over and that the history has no room for.
    pub prune: Vec<Named>,
    /// What is told then.
    pub noted: Told,
    /// When to decide again though nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write or to tell.
    pub fn is_quiet(&self, cron_job: &CronJob) -> bool {
        self.replace.is_empty()
            && self.start.is_none()
            && self.events.is_empty()
            && self.prune.is_empty()
            && !is_news(cron_job, &self.status)
    }
}

/// True when the stored status says something else.
pub fn is_news(cron_job: &CronJob, status: &CronJobStatus) -> bool {
    cron_job.status.as_ref() != Some(status)
        && (cron_job.status.is_some() || *status != CronJobStatus::default())
}

/// Decides about a CronJob.
pub fn plan(view: &CronJobView<'_>, now: Timestamp) -> Plan {
    let cron_job = view.cron_job;
    let mut plan = Plan {
        status: cron_job.status.clone().unwrap_or_default(),
        noted: view.told.clone(),
        prune: superfluous(view),
        ..Plan::default()
    };
    look_at_jobs(view, &mut plan);
    let is_stopped = meta::is_terminating(&cron_job.metadata) || cron_job.spec.suspend == Some(true);
    let Some(timing) = Timing::of(cron_job).filter(|_| !is_stopped) else { return plan };
    if let Some(due) = timing.due(now) {
        start(view, &mut plan, due);
    }
    plan.requeue_after = timing.wait(now);
    plan
}

/// Which of the jobs run, and which have ended since.
fn look_at_jobs(view: &CronJobView<'_>, plan: &mut Plan) {
    let mut active = plan.status.active.take().unwrap_or_default();
    let listed: BTreeSet<String> = active.iter().filter_map(|one| one.uid.clone()).collect();
    plan.noted.strangers.retain(|uid| view.jobs.values().any(|one| one.metadata.uid.as_ref() == Some(uid)));
    for (name, one) in view.jobs {
        let uid = one.metadata.uid.clone().unwrap_or_default();
        let is_listed = listed.contains(&uid);
        if !job::is_finished(one) {
            if !is_listed && jobs::is_scheduled(one) && !meta::is_terminating(&one.metadata) {
                // It was made, and the status could not be written any more.
                active.push(jobs::reference(one));
            } else if !is_listed && plan.noted.strangers.insert(uid) {
                let text = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.events.push((EventKind::Warning, "UnexpectedJob", text));
            }
            continue;
        }
        let is_complete = job::condition(one, "Complete").is_some();
        if is_listed {
            active.retain(|known| known.uid.as_ref() != Some(&uid));
            let condition = if is_complete { "Complete" } else { "Failed" };
            let text = format!("Saw completed job: {name}, condition: {condition}");
            plan.events.push((EventKind::Normal, "SawCompletedJob", text));
        }
        let completed = one.status.as_ref().and_then(|status| status.completion_time.as_ref());
        if let Some(completed) = completed.filter(|_| is_complete) {
            let known = plan.status.last_successful_time.as_ref();
            if known.is_none_or(|known| completed.0 > known.0) {
                plan.status.last_successful_time = Some(completed.clone());
            }
        }
    }
    let is_there = |uid: Option<&String>| view.jobs.values().any(|one| one.metadata.uid.as_ref() == uid);
    if view.is_current {
        let gone = active.iter().filter(|one| !is_there(one.uid.as_ref()));
        let told = gone.map(|one| {
            let text = format!("Active job went missing: {}", one.name.as_deref().unwrap_or_default());
            (EventKind::Normal, "MissingJob", text)
        });
        plan.events.extend(told);
        active.retain(|one| is_there(one.uid.as_ref()));
    }
    plan.status.active = Some(active).filter(|active| !active.is_empty());
}

fn start(view: &CronJobView<'_>, plan: &mut Plan, due: Due) {
    let cron_job = view.cron_job;
    let name = jobs::name_for(cron_job, due.at);
    let active = plan.status.active.as_deref().unwrap_or_default();
    let is_made = active.iter().any(|one| one.name.as_ref() == Some(&name));
    if is_made || plan.status.last_schedule_time == Some(Time(due.at)) {
        if is_made {
            plan.status.last_schedule_time = Some(Time(due.at));
        }
        return;
    }
    if due.is_too_late {
        if plan.noted.missed != Some(due.at) {
            let text = format!("Missed scheduled time to start a job: {}", due.at.strftime(RFC_1123));
            plan.events.push((EventKind::Warning, "MissSchedule", text));
            plan.noted.missed = Some(due.at);
        }
        return;
    }
    let policy = cron_job.spec.concurrency_policy.as_deref().unwrap_or("Allow");
    if policy == "Forbid" && !active.is_empty() {
        if plan.noted.skipped != Some(due.at) {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((EventKind::Normal, "JobAlreadyActive", text.to_owned()));
            plan.noted.skipped = Some(due.at);
        }
        return;
    }
    if policy == "Replace" {
        let running =
            active.iter().filter_map(|one| Some(Named { name: one.name.clone()?, uid: one.uid.clone()? }));
        plan.replace = running.collect();
        plan.status.active = None;
    }
    if due.is_one_of_many {
        let text =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.events.push((EventKind::Warning, "TooManyMissedTimes", text.to_owned()));
    }
    plan.start = Some((Box::new(jobs::job_for(cron_job, due.at)), due.at));
}

/// The oldest of the jobs that are over, beyond as many as are to be kept.
fn superfluous(view: &CronJobView<'_>) -> Vec<Named> {
    let spec = &view.cron_job.spec;
    let over = |kind: &str, limit: Option<i32>| {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return Vec::new() };
        let ended = view.jobs.values().filter(|one| job::condition(one, kind).is_some());
        let mut all: Vec<&Arc<Job>> = ended.filter(|one| !meta::is_terminating(&one.metadata)).collect();
        all.sort_by_key(|one| {
            let began = one.status.as_ref().and_then(|status| status.start_time.as_ref());
            (began.is_none(), began.map(|began| began.0), one.metadata.name.clone())
        });
        let count = all.len().saturating_sub(limit);
        all.into_iter().take(count).map(|one| Named::of(&one.metadata)).collect()
    };
    let mut all = over("Complete", spec.successful_jobs_history_limit);
    all.extend(over("Failed", spec.failed_jobs_history_limit));
    all
}
