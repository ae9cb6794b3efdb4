//! The status of a set: what is counted, what a refusal adds to it, when a write is worth it. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::{meta, pod};

/// The condition that says that pods could not be made or deleted.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Fields that are left out when they count nothing.
fn counted(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Counts the pods of a set: `active` are those that live, `terminating` those on their way out.
pub fn of(set: &ReplicaSet, active: &[&Arc<Pod>], terminating: i32, now: Timestamp) -> ReplicaSetStatus {
    let template = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref());
    let wanted = template.and_then(|metadata| metadata.labels.as_ref());
    let is_fully_labeled = |one: &Pod| {
        let labels = one.metadata.labels.as_ref();
        wanted
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    };
    let min_ready_seconds = min_ready_seconds(set);
    let (mut labeled, mut ready, mut available) = (0, 0, 0);
    for one in active {
        labeled += i32::from(is_fully_labeled(one));
        ready += i32::from(pod::is_ready(one));
        available += i32::from(pod::is_available(one, min_ready_seconds, now));
    }
    ReplicaSetStatus {
        replicas: i32::try_from(active.len()).unwrap_or(i32::MAX),
        fully_labeled_replicas: counted(labeled),
        ready_replicas: counted(ready),
        available_replicas: counted(available),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, |kind| kind != REPLICA_FAILURE),
    }
}

/// When the next pod that is ready becomes available.
pub fn next_available(set: &ReplicaSet, active: &[&Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let from = active.iter().filter_map(|one| {
        let from = pod::is_ready(one).then(|| pod::available_from(one, min_ready_seconds(set)))??;
        Duration::try_from(from.duration_since(now)).ok().filter(|wait| !wait.is_zero())
    });
    from.min()
}

/// The status after pods could not be made (`reason` FailedCreate) or deleted (FailedDelete). A failure
/// that was told stays as it was told.
pub fn with_failure(
    set: &ReplicaSet,
    mut status: ReplicaSetStatus,
    reason: &str,
    message: String,
    now: Timestamp,
) -> ReplicaSetStatus {
    let known = conditions(set, |kind| kind == REPLICA_FAILURE);
    let failure = known.unwrap_or_else(|| {
        vec![ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.to_owned()),
            status: Some("True".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(whole_seconds(now))),
        }]
    });
    status.conditions.get_or_insert_default().extend(failure);
    status
}

/// True when the stored status tells something else.
pub fn is_news(set: &ReplicaSet, status: &ReplicaSetStatus) -> bool {
    set.status.as_ref() != Some(status)
}

/// Times in the API have whole seconds.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// How long a pod must be ready to count as available.
fn min_ready_seconds(set: &ReplicaSet) -> i32 {
    set.spec.min_ready_seconds.unwrap_or_default().max(0)
}

fn conditions(set: &ReplicaSet, keep: impl Fn(&str) -> bool) -> Option<Vec<ReplicaSetCondition>> {
    let all = set.status.as_ref()?.conditions.as_ref()?;
    let kept = all.iter().filter(|condition| keep(condition.type_.as_deref().unwrap_or_default()));
    let kept: Vec<ReplicaSetCondition> = kept.cloned().collect();
    (!kept.is_empty()).then_some(kept)
}

/// True when the pod is deleted and not over yet.
pub fn is_terminating(one: &Pod) -> bool {
    meta::is_terminating(&one.metadata) && !pod::is_failed_or_succeeded(one)
}
