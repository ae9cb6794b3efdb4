//! Who gets how many replicas as a rollout goes on. Pure.
//!
//! A step must never take pods that are needed: it counts on no pod that a set is about to lose already.

use std::cmp::Ordering;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use model::meta;

use super::arithmetic::{is_rolling, least, most, replicas, told};
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

    /// How many of its pods are available and stay: one that was scaled down just now still counts those
    /// that it is to lose, and one that is deleted may lose all.
    pub fn lasting(&self) -> i64 {
        if meta::is_terminating(&self.set.metadata) { 0 } else { self.available().min(self.size).into() }
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

/// A number of each set, added up.
pub fn sum<'s, 'a: 's>(sets: impl IntoIterator<Item = &'s Set<'a>>, of: impl Fn(&Set<'a>) -> i32) -> i64 {
    sets.into_iter().map(|set| i64::from(of(set))).sum()
}

/// The older first; of one age in the order of their names.
pub fn by_age(one: &Set<'_>, other: &Set<'_>) -> Ordering {
    let created = |set: &Set<'_>| set.set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created(one).cmp(&created(other)).then_with(|| one.name().cmp(other.name()))
}

/// How many replicas the new set may have while all sets together want `total`.
pub fn new_size(deployment: &Deployment, size: i32, total: i64) -> i32 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) || size >= wanted {
        return wanted;
    }
    let room = (most(deployment) - total).max(0);
    told((i64::from(size) + room).min(wanted.into()))
}

/// How many replicas the old sets keep in this step of a rolling update: first those go that are not
/// available anyhow, then as many as the new set's pods stand in for.
///
/// There is no step while a set has not heard of its size: its status may count pods that went with a size
/// in between. Its controller tells the status also where it can make no pods, so that this ends.
pub fn old_sizes(deployment: &Deployment, new: Option<&Set<'_>>, old: &[Set<'_>]) -> Sizes {
    let all = || old.iter().chain(new);
    if all().any(|set| set.size > 0 && !set.is_observed()) {
        return Sizes::new();
    }
    let new_unavailable = new.map_or(0, |new| i64::from(new.size) - new.lasting());
    let mut spare = sum(all(), |set| set.size) - least(deployment) - new_unavailable;
    if spare <= 0 {
        return Sizes::new();
    }
    let mut old = old.to_vec();
    old.sort_by(by_age);
    let mut take = |set: &mut Set<'_>, count: i64| {
        let going = spare.min(count).max(0);
        set.size = told(i64::from(set.size) - going);
        spare -= going;
    };
    for set in &mut old {
        let idle = i64::from(set.size) - set.lasting();
        take(set, idle);
    }
    // If there is something to spare yet, all that the old sets have left is available, and the spare ones
    // are those beyond the least that must be.
    for set in &mut old {
        let all = i64::from(set.size);
        take(set, all);
    }
    old.into_iter().map(|set| (set.name().to_owned(), set.size)).collect()
}

/// True while pods of the old sets may run: a Deployment that recreates waits for the last of them.
pub fn old_pods_run(old: &[Set<'_>]) -> bool {
    old.iter().any(|set| !set.is_observed() || set.actual() > 0 || set.terminating() > 0)
}
