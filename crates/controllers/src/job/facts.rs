//! What the pods of a job come to: who runs, who ended and is not counted yet, which indexes are done. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use model::indexes::Intervals;
use model::{job, meta, pod};

use super::backoff::{Ended, finished_at};
use super::failure_policy::{Verdict, judge};

/// Pods and counts of one job.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The job.
    pub job: &'a Arc<Job>,
    /// Its spec.
    pub spec: &'a JobSpec,
    /// Its pods, those of the lowest indexes first.
    pub pods: Vec<&'a Arc<Pod>>,
    /// Those that run or will.
    pub active: Vec<&'a Arc<Pod>>,
    /// How many are deleted and not over.
    pub terminating: usize,
    /// Uids that the status names as succeeded and not counted.
    uncounted_succeeded: HashSet<&'a str>,
    /// Uids that the status names as failed and not counted.
    uncounted_failed: HashSet<&'a str>,
    /// Those that ended and are in no count yet, succeeded and failed.
    pub ended: Vec<&'a Arc<Pod>>,
    /// How many have succeeded in all.
    pub succeeded: i64,
    /// How many have failed in all, those aside that the policy ignores.
    pub failed: i64,
    /// Indexes.
    pub indexes: Option<Indexes<'a>>,
}

/// What is only known of indexed jobs.
#[derive(Debug)]
pub struct Indexes<'a> {
    /// How many there are to be.
    pub completions: u32,
    /// Those that the status says are done.
    pub done_before: Intervals,
    /// Those that are done.
    pub done: Intervals,
    /// Those that have failed, where they fail one by one.
    pub failed: Option<Intervals>,
    /// The pod that failed last of each index that is to be tried again: it stays until its successor, which
    /// goes on counting, is there.
    pub to_replace: BTreeMap<u32, &'a Arc<Pod>>,
}

/// True when a pod that is on its way out is only replaced once it is over.
pub fn replaces_only_failed(spec: &JobSpec) -> bool {
    spec.pod_failure_policy.is_some() || spec.pod_replacement_policy.as_deref() == Some("Failed")
}

/// True when a pod counts as failed: one that is deleted may never get that far.
pub fn is_failed(spec: &JobSpec, one: &Pod) -> bool {
    pod::is_failed(one)
        || (!replaces_only_failed(spec) && meta::is_terminating(&one.metadata) && !pod::is_succeeded(one))
}

/// True when the pod is deleted and not over.
fn is_terminating(one: &Pod) -> bool {
    meta::is_terminating(&one.metadata) && !pod::is_failed_or_succeeded(one)
}

impl<'a> Facts<'a> {
    /// Looks at the pods of a job. `status` is what it says, with what has left its lists counted.
    pub fn of(
        job: &'a Arc<Job>,
        spec: &'a JobSpec,
        status: &'a JobStatus,
        mut pods: Vec<&'a Arc<Pod>>,
    ) -> Facts<'a> {
        pods.sort_by_key(|one| job::completion_index(one));
        let uncounted = status.uncounted_terminated_pods.as_ref();
        let uids = |list: Option<&'a Vec<String>>| list.into_iter().flatten().map(String::as_str).collect();
        let mut facts = Facts {
            job,
            spec,
            active: pods.iter().copied().filter(|one| pod::is_active(one)).collect(),
            terminating: pods.iter().filter(|one| is_terminating(one)).count(),
            pods,
            uncounted_succeeded: uids(uncounted.and_then(|uncounted| uncounted.succeeded.as_ref())),
            uncounted_failed: uids(uncounted.and_then(|uncounted| uncounted.failed.as_ref())),
            ended: Vec::new(),
            succeeded: 0,
            failed: 0,
            indexes: None,
        };
        facts.count(status);
        if job::is_indexed(job) {
            facts.look_at_indexes(status);
        }
        facts
    }

    fn count(&mut self, status: &JobStatus) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.succeeded = i64::from(status.succeeded.unwrap_or_default());
        self.succeeded += whole(self.uncounted_succeeded.len());
        self.failed = i64::from(status.failed.unwrap_or_default()) + whole(self.uncounted_failed.len());
        let counted = |one: &&Arc<Pod>| job::is_tracked(one) && self.has_place(one);
        let (mut ended, mut succeeded, mut failed) = (Vec::new(), 0, 0);
        for one in self.pods.iter().copied().filter(counted) {
            // One that was counted as failed when it was deleted may end well after all.
            if pod::is_succeeded(one) && !self.is_listed_succeeded(one) && !self.is_listed_failed(one) {
                succeeded += 1;
                ended.push(one);
            }
            if is_failed(self.spec, one) && !self.is_listed_failed(one) {
                failed += i64::from(judge(self.spec, one).counts());
                ended.push(one);
            }
        }
        self.succeeded += succeeded;
        self.failed += failed;
        self.ended = ended;
    }

    fn look_at_indexes(&mut self, status: &JobStatus) {
        let completions = u32::try_from(self.spec.completions.unwrap_or_default()).unwrap_or_default();
        let tracked = || self.pods.iter().copied().filter(|one| job::is_tracked(one));
        let placed = || tracked().filter_map(|one| Some((self.index(one)?, one)));
        let read = |text: &Option<String>| Intervals::read(text.as_deref().unwrap_or_default(), completions);
        let (done_before, lost_before) = (read(&status.completed_indexes), read(&status.failed_indexes));
        // What was said of an index stays so: the pod of one that has failed, because it was deleted, may end
        // well after all.
        let well = placed().filter(|(index, one)| pod::is_succeeded(one) && !lost_before.has(*index));
        let newly: BTreeSet<u32> = well.map(|(index, _)| index).collect();
        let done = done_before.with(&Intervals::from(&newly));
        let (mut failed, mut to_replace) = (None, BTreeMap::new());
        if let Some(limit) = self.spec.backoff_limit_per_index {
            let badly = placed().filter(|(index, one)| !done.has(*index) && self.ends_index(one, limit));
            let newly: BTreeSet<u32> = badly.map(|(index, _)| index).collect();
            let lost = lost_before.with(&Intervals::from(&newly));
            let running: BTreeSet<u32> = self.active.iter().filter_map(|one| self.index(one)).collect();
            for (index, one) in placed().filter(|(_, one)| is_failed(self.spec, one)) {
                if done.has(index) || lost.has(index) || running.contains(&index) {
                    continue;
                }
                let order = |one: &Pod| (tries(one), finished_at(one));
                let last = to_replace.entry(index).or_insert(one);
                if order(last) <= order(one) {
                    *last = one;
                }
            }
            failed = Some(lost);
        }
        self.succeeded = i64::from(done.count());
        self.indexes = Some(Indexes { completions, done_before, done, failed, to_replace });
    }

    fn ends_index(&self, one: &Pod, limit: i32) -> bool {
        if !is_failed(self.spec, one) {
            return false;
        }
        match judge(self.spec, one) {
            Verdict::FailIndex => true,
            verdict => verdict.counts() && annotated(one, job::INDEX_FAILURES) >= i64::from(limit),
        }
    }

    /// The index of a pod, if it is one that the job has.
    pub fn index(&self, one: &Pod) -> Option<u32> {
        let index = job::completion_index(one)?;
        (i64::from(index) < i64::from(self.spec.completions.unwrap_or_default())).then_some(index)
    }

    /// True for pods that count at all: in an indexed job those with an index.
    pub fn has_place(&self, one: &Pod) -> bool {
        !job::is_indexed(self.job) || self.index(one).is_some()
    }

    /// True when the status names the pod as succeeded.
    pub fn is_listed_succeeded(&self, one: &Pod) -> bool {
        one.metadata.uid.as_deref().is_some_and(|uid| self.uncounted_succeeded.contains(uid))
    }

    /// True when the status names the pod as failed.
    pub fn is_listed_failed(&self, one: &Pod) -> bool {
        one.metadata.uid.as_deref().is_some_and(|uid| self.uncounted_failed.contains(uid))
    }

    /// How its pods ended, as far as that is new.
    pub fn ends(&self) -> Vec<Ended> {
        self.ended.iter().map(|one| Ended::of(one)).collect()
    }
}

/// A number in an annotation; zero where there is none that can be one.
pub fn annotated(one: &Pod, key: &str) -> i64 {
    let text = one.metadata.annotations.as_ref().and_then(|all| all.get(key));
    text.and_then(|text| text.parse::<i32>().ok()).map_or(0, |number| i64::from(number.max(0)))
}

/// How often the index of a pod had failed before it, ignored failures too.
pub fn tries(one: &Pod) -> i64 {
    annotated(one, job::INDEX_FAILURES) + annotated(one, job::INDEX_IGNORED_FAILURES)
}
