//! The status of a Deployment: what is counted, and its conditions with upstream's reasons and texts. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::arithmetic::{least, replicas, told};
use super::rollout::{self, Set};
use crate::replica_set::status::{REPLICA_FAILURE, whole_seconds};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A condition as of now.
fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    let now = Some(Time(whole_seconds(now)));
    DeploymentCondition {
        type_: Some(kind.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: now.clone(),
        last_update_time: now,
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|one| one.type_.as_deref() == Some(kind))
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(all) = &mut status.conditions {
        all.retain(|one| one.type_.as_deref() != Some(kind));
        if all.is_empty() {
            status.conditions = None;
        }
    }
}

/// Sets a condition, unless it says the same for the same reason already.
fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    let kind = new.type_.clone().unwrap_or_default();
    if let Some(known) = find(status, &kind)
        && known.status == new.status
    {
        if known.reason == new.reason {
            return;
        }
        new.last_transition_time = known.last_transition_time.clone();
    }
    remove(status, &kind);
    status.conditions.get_or_insert_default().push(new);
}

fn reason<'a>(status: &'a DeploymentStatus, kind: &str) -> &'a str {
    find(status, kind).and_then(|one| one.reason.as_deref()).unwrap_or_default()
}

/// How long a rollout may go without progress; `None` where there is no bound.
fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(i64::from(seconds)))
}

/// Notes that the deployment was paused, or goes on.
pub fn note_pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    let known = reason(status, PROGRESSING);
    if deadline(deployment).is_none() || known == TIMED_OUT {
        return;
    }
    let is_paused = deployment.spec.paused.unwrap_or_default();
    let (reason, message) = match (is_paused, known == PAUSED) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    set(status, condition(PROGRESSING, "Unknown", reason, message.to_owned(), now));
}

/// Notes that the set of the present template was made.
pub fn note_created(deployment: &Deployment, status: &mut DeploymentStatus, name: &str, now: Timestamp) {
    if deadline(deployment).is_some() {
        let message = format!("Created new replica set \"{name}\"");
        set(status, condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
    }
}

/// Notes that the set of the present template was there already.
pub fn note_found(deployment: &Deployment, status: &mut DeploymentStatus, name: &str, now: Timestamp) {
    if deadline(deployment).is_some() && find(status, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{name}\"");
        set(status, condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
    }
}

/// Notes that the set of the present template could not be made.
pub fn note_refused(deployment: &Deployment, status: &mut DeploymentStatus, message: String, now: Timestamp) {
    if deadline(deployment).is_some() {
        set(status, condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    }
}

/// Counts the pods of all sets, and says whether enough of them are available. `before` is the status so far.
pub fn counted(
    deployment: &Deployment,
    before: &DeploymentStatus,
    new: Option<&Set<'_>>,
    old: &[Set<'_>],
    now: Timestamp,
) -> DeploymentStatus {
    let counted = |count: i64| (count != 0).then_some(told(count));
    let sum = |of: &dyn Fn(&Set<'_>) -> i32| rollout::sum(old.iter().chain(new), of);
    let ready = |set: &Set<'_>| set.set.status.as_ref().and_then(|status| status.ready_replicas);
    let available = sum(&|set| set.available());
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: counted(sum(&|set| set.actual())),
        updated_replicas: counted(new.map_or(0, |new| new.actual().into())),
        ready_replicas: counted(sum(&|set| ready(set).unwrap_or_default())),
        available_replicas: counted(available),
        unavailable_replicas: counted((sum(&|set| set.size) - available).max(0)),
        terminating_replicas: Some(told(sum(&|set| set.terminating()))),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let is_available = available >= least(deployment);
    let (state, reason, message) = if is_available {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, condition(AVAILABLE, state, reason, message.to_owned(), now));
    status
}

/// True when all wanted pods have the present template and are available, and no others are there.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    let is_wanted = |count: Option<i32>| count.unwrap_or_default() == wanted;
    is_wanted(status.updated_replicas)
        && is_wanted(status.replicas)
        && is_wanted(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

fn progresses(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| i64::from(count.unwrap_or_default());
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

/// The moment from which a rollout without progress has taken too long.
fn gives_up_at(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let progressing = find(status, PROGRESSING)?;
    if matches!(progressing.reason.as_deref(), Some(NEW_AVAILABLE | TIMED_OUT)) {
        return None;
    }
    let since = progressing.last_update_time.as_ref()?.0;
    since.checked_add(deadline(deployment)?).ok()
}

/// The status of a rollout: [`counted`], and how it goes.
pub fn of_rollout(
    deployment: &Deployment,
    before: &DeploymentStatus,
    new: Option<&Set<'_>>,
    old: &[Set<'_>],
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = counted(deployment, before, new, old, now);
    if deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    }
    let was_completed =
        status.replicas == status.updated_replicas && reason(before, PROGRESSING) == NEW_AVAILABLE;
    if deadline(deployment).is_some() && !was_completed {
        let who = match new {
            Some(set) => format!("ReplicaSet \"{}\"", set.name()),
            None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
        };
        let progressing = |state: &str, reason: &str, how: &str| {
            condition(PROGRESSING, state, reason, format!("{who} {how}"), now)
        };
        if is_complete(deployment, &status) {
            set(&mut status, progressing("True", NEW_AVAILABLE, "has successfully progressed."));
        } else if progresses(before, &status) {
            let mut new = progressing("True", "ReplicaSetUpdated", "is progressing.");
            // Said anew each time, so that the deadline runs from the last progress.
            if let Some(known) = find(before, PROGRESSING).filter(|known| known.status == new.status) {
                new.last_transition_time = known.last_transition_time.clone();
            }
            remove(&mut status, PROGRESSING);
            set(&mut status, new);
        } else if gives_up_at(deployment, &status).is_some_and(|at| at < now) {
            set(&mut status, progressing("False", TIMED_OUT, "has timed out progressing."));
        }
    }
    match new.and_then(failure_of).or_else(|| old.iter().find_map(failure_of)) {
        Some(failure) => set(&mut status, failure),
        None => remove(&mut status, REPLICA_FAILURE),
    }
    status
}

/// What keeps a set from having its pods.
fn failure_of(set: &Set<'_>) -> Option<DeploymentCondition> {
    let conditions = set.set.status.as_ref()?.conditions.as_ref()?;
    let is_failure = |one: &&ReplicaSetCondition| one.type_.as_deref() == Some(REPLICA_FAILURE);
    let failure = conditions.iter().find(is_failure)?.clone();
    Some(DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
    })
}

/// When to look whether a rollout has taken too long.
pub fn look_again(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    if is_complete(deployment, status) {
        return None;
    }
    let left = gives_up_at(deployment, status)?.duration_since(now);
    // Times in conditions have whole seconds: one more, so that the deadline has passed then.
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}
