//! What is to be done about a job. Pure: the same view gives the same plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::selector::Selector;
use model::{job, meta, pod};
use reconcile::recorder::EventKind;

use super::backoff::Ended;
use super::ending::{self, Ending};
use super::facts::Facts;
use super::staffing::{self, BURST_MAX, Staffing};
use super::tracking;
use super::view::JobView;
use crate::replica_set::status::whole_seconds;
use crate::writes::Named;

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to take in. Before that the job itself must be asked for again: it may be gone.
    pub adopt: Vec<Named>,
    /// Pods to let go.
    pub release: Vec<Named>,
    /// Pods that are too many: without their finalizer, they count for nothing.
    pub dismiss: Vec<Named>,
    /// Pods to make.
    pub create: Vec<Arc<Pod>>,
    /// The status that follows, if all goes well; `None` while pods change hands.
    pub status: Option<JobStatus>,
    /// What to tell once the status is written.
    pub told: Vec<(EventKind, String, String)>,
    /// Pods to delete because the job is over.
    pub delete: Vec<Named>,
    /// Pods that are counted, or named in the status, and need not wait any more.
    pub untrack: Vec<Named>,
    /// The job has been over for long enough, and goes.
    pub expire: bool,
    /// How pods ended that had not been seen before.
    pub ended: Vec<Ended>,
    /// When to decide again though nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self, job: &Job) -> bool {
        self.adopt.is_empty()
            && self.release.is_empty()
            && self.dismiss.is_empty()
            && self.create.is_empty()
            && self.delete.is_empty()
            && self.untrack.is_empty()
            && !self.expire
            && (self.status.is_none() || self.status == job.status)
    }

    fn requeue(&mut self, after: Option<Duration>) {
        self.requeue_after = match (self.requeue_after, after) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// Decides about a job.
pub fn plan(view: &JobView<'_>, now: Timestamp) -> Plan {
    let job = view.job;
    if job::is_finished(job) {
        return over(view, now);
    }
    let (Some(spec), Ok(selector)) = (&job.spec, view.selector) else { return Plan::default() };
    if job::is_managed_elsewhere(job) {
        return Plan::default();
    }
    let empty = BTreeMap::new();
    let selects = |one: &Pod| selector.matches(one.metadata.labels.as_ref().unwrap_or(&empty));
    let handed_over = hand_over(view, selector);
    if !handed_over.is_quiet(job) {
        return handed_over;
    }
    let mut before = job.status.clone().unwrap_or_default();
    tracking::settle(&mut before, view.pods);
    if before.start_time.is_none() && !job::is_suspended(job) {
        before.start_time = Some(Time(whole_seconds(now)));
    }
    let pods = view.pods.values().filter(|one| selects(one)).collect();
    let facts = Facts::of(job, spec, &before, pods);
    decide(view, &facts, before.clone(), now)
}

/// Takes in pods that nobody manages, and lets go those that the job selects no more.
fn hand_over(view: &JobView<'_>, selector: &Selector) -> Plan {
    let empty = BTreeMap::new();
    let selects = |one: &Pod| selector.matches(one.metadata.labels.as_ref().unwrap_or(&empty));
    if meta::is_terminating(&view.job.metadata) {
        return Plan::default();
    }
    let adopted = view.orphans.values().filter(|one| !meta::is_terminating(&one.metadata) && selects(one));
    let released = view.pods.values().filter(|one| pod::is_active(one) && !selects(one));
    Plan {
        adopt: adopted.map(|one| Named::of(&one.metadata)).collect(),
        release: released.map(|one| Named::of(&one.metadata)).collect(),
        ..Plan::default()
    }
}

fn decide(view: &JobView<'_>, facts: &Facts<'_>, mut status: JobStatus, now: Timestamp) -> Plan {
    let job = facts.job;
    let mut plan = Plan { ended: facts.ends(), ..Plan::default() };
    let mut ending = ending::of(facts, &status, now);
    if ending.is_none() && !meta::is_terminating(&job.metadata) {
        let mut backoff = view.backoff.clone();
        backoff.note(&plan.ended);
        let Staffing { create, dismiss, wait } = staffing::of(facts, &backoff, now);
        (plan.create, plan.dismiss) = (create, dismiss);
        plan.requeue(wait);
        let deadline = ending::deadline(facts, &status);
        plan.requeue(deadline.and_then(|at| Duration::try_from(at.duration_since(now)).ok()));
    }
    if ending.is_none() {
        let running = facts.active.len() - plan.dismiss.len() + plan.create.len();
        let is_enough = match facts.spec.completions {
            Some(completions) => facts.succeeded >= i64::from(completions),
            None => facts.succeeded > 0,
        };
        if is_enough && running == 0 {
            ending = Some(Ending::completed());
        } else if !meta::is_terminating(&job.metadata) {
            tell_of_suspension(&mut plan, facts, &mut status, now);
        }
    }
    if ending.is_some() {
        let active = facts.active.iter().take(BURST_MAX);
        plan.delete = active.map(|one| Named::of(&one.metadata)).collect();
    }
    let tracking = tracking::track(facts, &mut status, ending.as_ref(), &plan.delete);
    plan.untrack = tracking.untrack;
    count_pods(facts, &plan, &mut status);
    if let Some(ending) = &ending {
        let announced = ending::condition(ending.announced(), true, &ending.reason, &ending.message, now);
        ending::set(&mut status, announced);
        if !tracking.is_full && plan.untrack.is_empty() && is_at_rest(&status) {
            finish(&mut plan, facts.spec, ending, &mut status, now);
        }
    }
    plan.status = Some(status);
    plan
}

/// The counts that follow from what is running and from what the plan does.
fn count_pods(facts: &Facts<'_>, plan: &Plan, status: &mut JobStatus) {
    let gone: std::collections::HashSet<&str> =
        plan.dismiss.iter().chain(&plan.delete).map(|one| one.uid.as_str()).collect();
    let stays = |one: &Pod| !gone.contains(one.metadata.uid.as_deref().unwrap_or_default());
    let ready = facts.active.iter().filter(|one| stays(one) && pod::is_ready(one)).count();
    let active = facts.active.len() - gone.len() + plan.create.len();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    status.active = Some(count(active)).filter(|count| *count > 0);
    status.ready = Some(count(ready));
    status.terminating = Some(count(facts.terminating + gone.len()));
}

/// True when nothing runs, ends or waits to be counted.
fn is_at_rest(status: &JobStatus) -> bool {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
    status.active.unwrap_or_default() == 0
        && status.terminating.unwrap_or_default() == 0
        && uncounted.is_none_or(|lists| is_empty(&lists.succeeded) && is_empty(&lists.failed))
}

fn finish(plan: &mut Plan, spec: &JobSpec, ending: &Ending, status: &mut JobStatus, now: Timestamp) {
    let condition = ending::condition(ending.final_condition(), true, &ending.reason, &ending.message, now);
    if !ending.is_success {
        plan.told.push((EventKind::Warning, ending.reason.clone(), ending.message.clone()));
    } else {
        status.completion_time.clone_from(&condition.last_transition_time);
        if spec.completions.is_some_and(|wanted| status.succeeded.unwrap_or_default() > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            plan.told.push((EventKind::Warning, "TooManySucceededPods".to_owned(), message.to_owned()));
        }
        plan.told.push((EventKind::Normal, "Completed".to_owned(), "Job completed".to_owned()));
    }
    // One that was suspended all along never started; a finished job has.
    status.start_time.get_or_insert_with(|| Time(whole_seconds(now)));
    ending::set(status, condition);
}

fn tell_of_suspension(plan: &mut Plan, facts: &Facts<'_>, status: &mut JobStatus, now: Timestamp) {
    let is_suspended = job::is_suspended(facts.job);
    let (reason, message, event) = if is_suspended {
        ("JobSuspended", "Job suspended", "Suspended")
    } else {
        ("JobResumed", "Job resumed", "Resumed")
    };
    let condition = ending::condition("Suspended", is_suspended, reason, message, now);
    if ending::set(status, condition) {
        plan.told.push((EventKind::Normal, event.to_owned(), message.to_owned()));
        if !is_suspended {
            // The deadline counts the time that the job was not suspended.
            status.start_time = Some(Time(whole_seconds(now)));
        }
    }
}

/// A job that is over: nobody waits for it any more, and after its time it goes.
fn over(view: &JobView<'_>, now: Timestamp) -> Plan {
    let job = view.job;
    let mut plan = Plan::default();
    if !job::is_managed_elsewhere(job) {
        let tracked = view.pods.values().filter(|one| job::is_tracked(one));
        plan.untrack = tracked.take(BURST_MAX).map(|one| Named::of(&one.metadata)).collect();
    }
    if let Some(at) = expires_at(job).filter(|_| !meta::is_terminating(&job.metadata)) {
        match Duration::try_from(at.duration_since(now)) {
            Ok(left) if !left.is_zero() => plan.requeue(Some(left)),
            _ => plan.expire = true,
        }
    }
    plan
}

/// When a job that is over goes by itself.
pub fn expires_at(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let condition = job::condition(job, "Complete").or_else(|| job::condition(job, "Failed"))?;
    let finished = condition.last_transition_time.as_ref()?.0;
    finished.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
}
