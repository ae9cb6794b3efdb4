//! Who gets how many replicas as a rollout goes on. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::arithmetic::{is_rolling, max_surge, max_unavailable, replicas};
use super::scaling::Sizes;

/// A set and how many replicas it is to have.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// The set.
    pub set: &'a Arc<ReplicaSet>,
    /// How many replicas it is to have.
    pub size: i32,
}

impl<'a> Set<'a> {
    /// A set as it is.
    pub fn of(set: &'a Arc<ReplicaSet>) -> Set<'a> {
        Set { set, size: set.spec.replicas.unwrap_or(1) }
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    /// How many of its pods are available.
    pub fn available(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default()
    }

    /// How many pods it has.
    pub fn actual(&self) -> i32 {
        self.set.status.as_ref().map_or(0, |status| status.replicas)
    }

    /// How many of its pods are on their way out.
    pub fn terminating(&self) -> i32 {
        self.set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or_default()
    }

    /// True when its status is about its present specification.
    pub fn is_observed(&self) -> bool {
        let observed = self.set.status.as_ref().and_then(|status| status.observed_generation);
        observed.unwrap_or_default() >= self.set.metadata.generation.unwrap_or_default()
    }
}

/// The older first; of one age in the order of their names.
pub fn by_age(one: &Set<'_>, other: &Set<'_>) -> Ordering {
    let created = |set: &Set<'_>| set.set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created(one).cmp(&created(other)).then_with(|| one.name().cmp(other.name()))
}

/// How many replicas the new set may have while all sets together want `total`.
pub fn new_size(deployment: &Deployment, size: i32, total: i32) -> i32 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) || size >= wanted {
        return wanted;
    }
    let room = wanted.saturating_add(max_surge(deployment)) - total;
    if room <= 0 { size } else { size + room.min(wanted - size) }
}

/// How many replicas the old sets keep in this step of a rolling update: first those go that are not
/// available anyhow, then as many as the new set's pods stand in for.
pub fn old_sizes(deployment: &Deployment, new: Option<&Set<'_>>, old: &[Set<'_>]) -> Sizes {
    let total: i32 = old.iter().chain(new).map(|set| set.size).sum();
    let least = replicas(deployment) - max_unavailable(deployment);
    let new_unavailable = new.map_or(0, |new| new.size - new.available());
    let mut spare = total - least - new_unavailable;
    if spare <= 0 {
        return Sizes::new();
    }
    let mut old = old.to_vec();
    old.sort_by(by_age);
    for set in &mut old {
        let going = spare.min(set.size - set.available()).max(0);
        set.size -= going;
        spare -= going;
    }
    let available: i32 = old.iter().chain(new).map(Set::available).sum();
    let mut spare = available - least;
    for set in &mut old {
        let going = set.size.min(spare).max(0);
        set.size -= going;
        spare -= going;
    }
    old.into_iter().map(|set| (set.name().to_owned(), set.size)).collect()
}

/// True while pods of the old sets may run: a Deployment that recreates waits for the last of them.
pub fn old_pods_run(old: &[Set<'_>]) -> bool {
    old.iter().any(|set| !set.is_observed() || set.actual() > 0 || set.terminating() > 0)
}
