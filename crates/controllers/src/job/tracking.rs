//! Counting pods exactly once. Pure.
//!
//! A pod that ended is first named in the status (its uid, or its index), then loses its finalizer, and is
//! counted when its finalizer is seen to be gone. Whatever is cut off in between is taken up again.

use std::collections::{BTreeSet, HashSet};

use k8s_openapi::api::batch::v1::JobStatus;
use k8s_openapi::api::core::v1::Pod;
use model::indexes::Intervals;
use model::{job, meta, pod};

use super::ending::Ending;
use super::facts::{Facts, is_failed};
use super::failure_policy::judge;
use crate::owned_index::Pods;
use crate::writes::Named;

/// Most pods that the status names at once: their uids take less than 20 KB.
pub const UNCOUNTED_MAX: usize = 500;

/// Counts the pods that the status names and that wait for nothing any more.
pub fn settle(status: &mut JobStatus, pods: &Pods) {
    let tracked: HashSet<&str> = pods
        .values()
        .filter(|one| job::is_tracked(one))
        .filter_map(|one| one.metadata.uid.as_deref())
        .collect();
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let lists =
        [(&mut uncounted.succeeded, &mut status.succeeded), (&mut uncounted.failed, &mut status.failed)];
    for (list, count) in lists {
        let before = list.as_ref().map_or(0, Vec::len);
        if let Some(uids) = list {
            uids.retain(|uid| tracked.contains(uid.as_str()));
        }
        let settled = before - list.as_ref().map_or(0, Vec::len);
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
        if settled > 0 {
            let settled = i32::try_from(settled).unwrap_or(i32::MAX);
            *count = Some(count.unwrap_or_default().saturating_add(settled));
        }
    }
}

/// What is to be done to count pods.
#[derive(Debug, Default, PartialEq)]
pub struct Tracking {
    /// Pods to take the finalizer off, once the status is written.
    pub untrack: Vec<Named>,
    /// There are more than one plan has room for.
    pub is_full: bool,
}

/// Names in the status what ended, or what `leaving` makes end, and says who need not wait any more.
pub fn track(
    facts: &Facts<'_>,
    status: &mut JobStatus,
    ending: Option<&Ending>,
    leaving: &[Named],
) -> Tracking {
    let mut tracking = Tracking::default();
    let leaving: HashSet<&str> = leaving.iter().map(|one| one.uid.as_str()).collect();
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let listed = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    let mut newly_done = BTreeSet::new();
    for one in facts.pods.iter().filter(|one| job::is_tracked(one)) {
        let uid = one.metadata.uid.clone().unwrap_or_default();
        let has_failed = is_failed(facts.spec, one);
        let goes = !pod::is_active(one) || leaving.contains(uid.as_str());
        if !goes || !may_go(facts, one, has_failed, ending) {
            continue;
        }
        tracking.untrack.push(Named::of(&one.metadata));
        if pod::is_succeeded(one) {
            if facts.is_listed_failed(one) {
                // It was counted as failed when it was deleted.
            } else if let Some(indexes) = &facts.indexes {
                newly_done.extend(facts.index(one).filter(|index| !indexes.done_before.has(*index)));
            } else if !facts.is_listed_succeeded(one) {
                uncounted.succeeded.get_or_insert_default().push(uid);
            }
        } else if (has_failed || ending.is_some_and(|ending| !ending.is_success))
            && !facts.is_listed_failed(one)
            && facts.has_place(one)
            && judge(facts.spec, one).counts()
        {
            uncounted.failed.get_or_insert_default().push(uid);
        }
        if newly_done.len() + listed(&uncounted.succeeded) + listed(&uncounted.failed) >= UNCOUNTED_MAX {
            tracking.is_full = true;
            break;
        }
    }
    if let Some(indexes) = &facts.indexes {
        let done = &indexes.done;
        status.succeeded = i32::try_from(done.count()).ok().filter(|count| *count > 0);
        status.completed_indexes = Some(done.to_string()).filter(|text| !text.is_empty());
        status.failed_indexes = indexes.failed.as_ref().map(Intervals::to_string);
    }
    tracking
}

/// True when a pod that is over, or is taken down, need not wait any more.
fn may_go(facts: &Facts<'_>, one: &Pod, has_failed: bool, ending: Option<&Ending>) -> bool {
    if meta::is_terminating(&facts.job.metadata) || ending.is_some() || pod::is_succeeded(one) {
        return true;
    }
    let is_to_replace = || {
        let indexes = facts.indexes.as_ref()?;
        let last = indexes.to_replace.get(&facts.index(one)?)?;
        Some(last.metadata.uid == one.metadata.uid)
    };
    has_failed && is_to_replace() != Some(true)
}
