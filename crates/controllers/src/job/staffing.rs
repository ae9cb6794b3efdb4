//! How many pods a job has now: which to make, which are too many. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::indexes::Intervals;
use model::{job, meta, pod};

use super::backoff::{self, Backoff, finished_at};
use super::facts::{Facts, Indexes, replaces_only_failed, tries};
use super::pods;
use crate::replica_set::ranks;
use crate::writes::Named;

/// Pods made or deleted by one plan, as upstream has it.
pub const BURST_MAX: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, Default, PartialEq)]
pub struct Staffing {
    /// Pods to make.
    pub create: Vec<Arc<Pod>>,
    /// Pods that are too many: they are deleted, and count for nothing.
    pub dismiss: Vec<Named>,
    /// How long to wait before the next is made.
    pub wait: Option<Duration>,
}

/// Decides for a job that goes on.
pub fn of(facts: &Facts<'_>, backoff: &Backoff, now: Timestamp) -> Staffing {
    let active = facts.active.len();
    let wanted = if job::is_suspended(facts.job) { 0 } else { wanted(facts) };
    let dismiss = surplus(facts, active.saturating_sub(wanted), now);
    if !dismiss.is_empty() || job::is_suspended(facts.job) {
        return Staffing { dismiss, ..Staffing::default() };
    }
    let leaving = if replaces_only_failed(facts.spec) { facts.terminating } else { 0 };
    let missing = wanted.saturating_sub(leaving).saturating_sub(active).min(BURST_MAX);
    if missing == 0 {
        return Staffing::default();
    }
    let per_index = facts.spec.backoff_limit_per_index.is_some();
    let wait = backoff.remaining(now);
    if !per_index && !wait.is_zero() {
        return Staffing { wait: Some(wait), ..Staffing::default() };
    }
    match &facts.indexes {
        Some(indexes) => of_indexes(facts, indexes, missing, now),
        None => {
            let create = std::iter::repeat_n(Arc::new(pods::plain(facts.job)), missing).collect();
            Staffing { create, ..Staffing::default() }
        }
    }
}

/// How many are to run.
fn wanted(facts: &Facts<'_>) -> usize {
    let parallelism = i64::from(facts.spec.parallelism.unwrap_or(1));
    let wanted = match facts.spec.completions {
        // One success is enough: who still runs may end.
        None if facts.succeeded > 0 => return facts.active.len(),
        None => parallelism,
        Some(completions) => (i64::from(completions) - facts.succeeded).min(parallelism),
    };
    usize::try_from(wanted).unwrap_or_default()
}

fn of_indexes(facts: &Facts<'_>, indexes: &Indexes<'_>, missing: usize, now: Timestamp) -> Staffing {
    let is_leaving = |one: &Pod| {
        replaces_only_failed(facts.spec)
            && meta::is_terminating(&one.metadata)
            && !pod::is_failed_or_succeeded(one)
    };
    let taken = facts.pods.iter().filter(|one| pod::is_active(one) || is_leaving(one));
    let taken: BTreeSet<u32> = taken.filter_map(|one| job::completion_index(one)).collect();
    let mut closed = indexes.done.with(&Intervals::from(&taken));
    if let Some(failed) = &indexes.failed {
        closed = closed.with(failed);
    }
    let (mut staffing, mut wait) = (Staffing::default(), None::<Duration>);
    for index in closed.first_missing(missing, indexes.completions) {
        let failed = indexes.to_replace.get(&index);
        let left = failed.map_or(Duration::ZERO, |failed| {
            let failures = usize::try_from(tries(failed)).unwrap_or_default() + 1;
            backoff::remaining(failures, finished_at(failed), now)
        });
        if left.is_zero() {
            staffing.create.push(Arc::new(pods::indexed(facts, index, failed.copied())));
        } else {
            wait = Some(wait.map_or(left, |wait| wait.min(left)));
        }
    }
    staffing.wait = wait;
    staffing
}

/// Those of the running pods that are too many: without an index that is theirs alone, or the cheapest to
/// lose.
fn surplus(facts: &Facts<'_>, count: usize, now: Timestamp) -> Vec<Named> {
    let cost = |one: &Arc<Pod>| ranks::rank(one, 0, now);
    let (mut going, mut staying) = (Vec::new(), Vec::new());
    if facts.indexes.is_some() {
        let mut by_index: BTreeMap<Option<u32>, Vec<&Arc<Pod>>> = BTreeMap::new();
        for one in &facts.active {
            by_index.entry(facts.index(one)).or_default().push(one);
        }
        for (index, mut same) in by_index {
            same.sort_by_cached_key(|one| cost(one));
            if index.is_some() {
                staying.extend(same.pop());
            }
            going.extend(same);
        }
    } else if count > 0 {
        staying.clone_from(&facts.active);
    }
    if going.len() < count {
        staying.sort_by_cached_key(|one| cost(one));
        going.extend(staying.into_iter().take(count - going.len()));
    }
    going.into_iter().take(BURST_MAX).map(|one| Named::of(&one.metadata)).collect()
}
