//! The status of a set: what is counted, when a rollout is complete, when a write is worth it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};

use super::conditions;
use super::revisions::{Revisions, name_of};
use super::rollout::Strategy;
use super::view::{PodEntry, SetView};
use model::stateful_set::{ClaimUpdates, replicas};

/// Counts the pods of a set, wanted and condemned ones alike; `settled` more are at the update revision in
/// all, and available. Where claims follow revisions, a replica is at one when its claims are too, and has
/// left one when the first of them has.
pub fn counted<'a>(
    view: &SetView<'a>,
    pods: &BTreeMap<i32, &'a PodEntry>,
    settled: i32,
    revisions: &Revisions<'_>,
    now: Timestamp,
) -> StatefulSetStatus {
    let set = &view.entry.set;
    let follows = follows_revisions(view);
    let min_ready_seconds = min_ready_seconds(set);
    let (current, update) = (name_of(&revisions.current), name_of(&revisions.update));
    let (mut replicas, mut ready, mut available) = (settled, settled, settled);
    let (mut at_current, mut at_update) = (if current == update { settled } else { 0 }, settled);
    for pod in pods.values() {
        replicas += i32::from(pod.is_created);
        ready += i32::from(pod.is_ready);
        available += i32::from(pod.is_available(min_ready_seconds, now));
        if pod.is_created && !pod.is_terminating {
            let revision = pod.revision();
            let are_claims_at_update = || view.checked(pod).are_claims_at(update);
            let has_claims_at_update = || view.checked(pod).live.iter().any(|live| live.revision() == update);
            let has_left = |follows: bool| follows && current != update && has_claims_at_update();
            at_current += i32::from(revision == current && !has_left(follows));
            at_update += i32::from(revision == update && (!follows || are_claims_at_update()));
        }
    }
    StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas,
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        current_replicas: Some(at_current),
        updated_replicas: Some(at_update),
        current_revision: Some(current.to_owned()),
        update_revision: Some(update.to_owned()),
        collision_count: Some(revisions.collision_count),
        // Upstream drops conditions that others have set; there is no reason to.
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    }
}

/// True where claims are brought to revisions as pods are. With `OnDelete` nobody does that.
fn follows_revisions(view: &SetView<'_>) -> bool {
    view.entry.claim_updates() == ClaimUpdates::InPlace && Strategy::of(&view.entry.set) != Strategy::OnDelete
}

/// True when no claim of these pods is missing or still becoming what it should be.
pub fn are_claims_ready<'a>(view: &SetView<'a>, pods: &BTreeMap<i32, &'a PodEntry>) -> bool {
    !follows_revisions(view) || pods.values().all(|pod| view.checked(pod).are_claims_ready())
}

/// Makes the update revision the current one when all replicas are at it and ready.
pub fn complete_rollout(set: &StatefulSet, are_claims_ready: bool, status: &mut StatefulSetStatus) {
    let wanted = replicas(set);
    let is_complete = Strategy::of(set) != Strategy::OnDelete
        && are_claims_ready
        && status.updated_replicas == Some(wanted)
        && status.ready_replicas == Some(wanted)
        && status.replicas == wanted;
    if is_complete {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
}

/// True when the stored status tells something else. The collision count alone and conditions of others are
/// not worth a write, nor is an older generation.
pub fn is_news(stored: Option<&StatefulSetStatus>, status: &StatefulSetStatus) -> bool {
    let Some(stored) = stored else { return true };
    counts_differ(stored, status)
        || conditions::are_news(stored.conditions.as_deref(), status.conditions.as_deref())
}

/// True when the stored status has the same counts, and the same conditions but for their words.
pub fn is_only_words(stored: Option<&StatefulSetStatus>, status: &StatefulSetStatus) -> bool {
    stored.is_some_and(|stored| {
        !counts_differ(stored, status)
            && !conditions::have_turned(stored.conditions.as_deref(), status.conditions.as_deref())
    })
}

fn counts_differ(stored: &StatefulSetStatus, status: &StatefulSetStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    status.observed_generation > stored.observed_generation
        || status.replicas != stored.replicas
        || count(status.ready_replicas) != count(stored.ready_replicas)
        || count(status.available_replicas) != count(stored.available_replicas)
        || count(status.current_replicas) != count(stored.current_replicas)
        || count(status.updated_replicas) != count(stored.updated_replicas)
        || text(&status.current_revision) != text(&stored.current_revision)
        || text(&status.update_revision) != text(&stored.update_revision)
}

/// How long a pod must be ready to count as available.
pub fn min_ready_seconds(set: &StatefulSet) -> i32 {
    set.spec.min_ready_seconds.unwrap_or_default().max(0)
}
