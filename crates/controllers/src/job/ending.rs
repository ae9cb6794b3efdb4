//! When a job is over, and why. Pure.
//!
//! The end of a job is told twice: first that it will end so (SuccessCriteriaMet, FailureTarget), while its
//! pods are still taken down and counted, and then, when that is done, that it has (Complete, Failed).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::indexes::Intervals;
use model::{job, pod};

use super::facts::{Facts, Indexes, is_failed};
use super::failure_policy::{Verdict, judge};
use crate::replica_set::status::whole_seconds;

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// It did what it was for.
    pub is_success: bool,
    /// Why, in a word.
    pub reason: String,
    /// Why.
    pub message: String,
}

impl Ending {
    fn failure(reason: &str, message: &str) -> Ending {
        Ending { is_success: false, reason: reason.to_owned(), message: message.to_owned() }
    }

    /// A job whose last pod succeeded.
    pub fn completed() -> Ending {
        Ending {
            is_success: true,
            reason: "CompletionsReached".to_owned(),
            message: "Reached expected number of succeeded pods".to_owned(),
        }
    }

    /// The condition that says that it will end so.
    pub fn announced(&self) -> &'static str {
        if self.is_success { "SuccessCriteriaMet" } else { "FailureTarget" }
    }

    /// The condition that says that it has.
    pub fn final_condition(&self) -> &'static str {
        if self.is_success { "Complete" } else { "Failed" }
    }
}

/// How the job ends, if its pods or its deadline say so; success by its completions aside.
pub fn of(facts: &Facts<'_>, status: &JobStatus, now: Timestamp) -> Option<Ending> {
    let told = |kind: &str| {
        let condition = job::condition(facts.job, kind)?;
        Some(Ending {
            is_success: kind == "SuccessCriteriaMet",
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        })
    };
    told("SuccessCriteriaMet")
        .or_else(|| told("FailureTarget"))
        .or_else(|| by_policy(facts))
        .or_else(|| by_limits(facts))
        .or_else(|| by_deadline(facts, status, now))
        .or_else(|| facts.indexes.as_ref().and_then(|indexes| by_indexes(facts, indexes)))
}

fn by_policy(facts: &Facts<'_>) -> Option<Ending> {
    let mut failed = facts.pods.iter().filter(|one| is_failed(facts.spec, one));
    failed.find_map(|one| match judge(facts.spec, one) {
        Verdict::FailJob(message) => Some(Ending::failure("PodFailurePolicy", &message)),
        _ => None,
    })
}

fn by_limits(facts: &Facts<'_>) -> Option<Ending> {
    let limit = i64::from(facts.spec.backoff_limit.unwrap_or_default());
    let restarts = restarts(facts);
    let is_past = facts.failed > limit || restarts.is_some_and(|count| count > 0 && count >= limit);
    is_past.then(|| Ending::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
}

/// How often containers of running pods were started again, where that is what failing means.
fn restarts(facts: &Facts<'_>) -> Option<i64> {
    let policy = facts.spec.template.spec.as_ref()?.restart_policy.as_deref();
    if policy != Some("OnFailure") {
        return None;
    }
    let alive = facts.pods.iter().filter(|one| matches!(pod::phase(one), "Running" | "Pending"));
    let statuses = alive.filter_map(|one| one.status.as_ref()).flat_map(|status| {
        let containers = status.container_statuses.iter().flatten();
        containers.chain(status.init_container_statuses.iter().flatten())
    });
    Some(statuses.map(|container| i64::from(container.restart_count)).sum())
}

/// The moment at which the job has run for too long.
pub fn deadline(facts: &Facts<'_>, status: &JobStatus) -> Option<Timestamp> {
    let seconds = facts.spec.active_deadline_seconds.filter(|_| !job::is_suspended(facts.job))?;
    status.start_time.as_ref()?.0.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn by_deadline(facts: &Facts<'_>, status: &JobStatus, now: Timestamp) -> Option<Ending> {
    let is_past = deadline(facts, status).is_some_and(|deadline| now >= deadline);
    is_past.then(|| Ending::failure("DeadlineExceeded", "Job was active longer than specified deadline"))
}

fn by_indexes(facts: &Facts<'_>, indexes: &Indexes<'_>) -> Option<Ending> {
    let lost = indexes.failed.as_ref().map(Intervals::count).unwrap_or_default();
    let most = facts.spec.max_failed_indexes.and_then(|most| u32::try_from(most).ok());
    if most.is_some_and(|most| lost > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Ending::failure("MaxFailedIndexesExceeded", message));
    }
    if lost > 0 && lost.saturating_add(indexes.done.count()) >= indexes.completions {
        return Some(Ending::failure("FailedIndexes", "Job has failed indexes"));
    }
    by_success_policy(facts, indexes)
}

fn by_success_policy(facts: &Facts<'_>, indexes: &Indexes<'_>) -> Option<Ending> {
    let rules = facts.spec.success_policy.as_ref()?.rules.as_slice();
    let done = &indexes.done;
    if done.is_empty() {
        return None;
    }
    let index = rules.iter().position(|rule| {
        let count = rule.succeeded_count.and_then(|count| u32::try_from(count).ok());
        match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Intervals::read(text, indexes.completions);
                let there = done.count_in(&wanted);
                !wanted.is_empty() && (there == wanted.count() || count.is_some_and(|count| there >= count))
            }
            None => count.is_some_and(|count| done.count() >= count),
        }
    })?;
    let message = format!("Matched rules at index {index}");
    Some(Ending { is_success: true, reason: "SuccessPolicy".to_owned(), message })
}

/// A condition of a job.
pub fn condition(kind: &str, holds: bool, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    let now = Time(whole_seconds(now));
    JobCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()).filter(|text| !text.is_empty()),
        message: Some(message.to_owned()).filter(|text| !text.is_empty()),
        last_probe_time: Some(now.clone()),
        last_transition_time: Some(now),
    }
}

/// Puts a condition into the status, in place of another that says something else; true when that is news.
/// That something does not hold is only worth saying where it did.
pub fn set(status: &mut JobStatus, new: JobCondition) -> bool {
    let says = |one: &JobCondition| (one.status.clone(), one.reason.clone(), one.message.clone());
    let known = status.conditions.iter_mut().flatten().find(|one| one.type_ == new.type_);
    match known {
        Some(one) if says(one) == says(&new) => false,
        Some(one) => {
            *one = new;
            true
        }
        None if new.status == "True" => {
            status.conditions.get_or_insert_default().push(new);
            true
        }
        None => false,
    }
}
