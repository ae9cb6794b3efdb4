//! Whatever is cut off, whoever deletes pods: each pod is counted exactly once, and a fair world ends.
//!
//! A world of values: the API's objects, pods that end as chance wills, a controller that may be ended
//! between any two writes and begins anew with an empty memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Change;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::encoded::Revision;
use model::{job, meta, pod};
use proptest::prelude::*;
use reconcile::picture::Picture as _;
use reconcile::runner::ObjectKey;
use serde_json::json;

use super::{indexed, now};
use crate::job::plan::{Plan, plan};
use crate::job::view::{Event, View};
use crate::writes::Named;

/// Rounds within which a fair world has to come to its end; far more than any takes.
const ROUNDS_MAX: usize = 200;

/// What happens next.
#[derive(Debug, Clone)]
enum Happening {
    /// The controller decides and is ended after so many writes.
    Decides(usize),
    /// The pod at this place ends, well or not.
    Ends(usize, bool),
    /// Somebody deletes the pod at this place.
    IsDeleted(usize),
    /// The node gives up the deleted pod at this place without a word.
    Vanishes(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0_usize..12).prop_map(Happening::Decides),
        3 => (0_usize..8, any::<bool>()).prop_map(|(at, well)| Happening::Ends(at, well)),
        1 => (0_usize..8).prop_map(Happening::IsDeleted),
        1 => (0_usize..8).prop_map(Happening::Vanishes),
    ]
}

struct World {
    job: Job,
    pods: BTreeMap<String, Pod>,
    made: usize,
    now: Timestamp,
    /// Uids that the status ever named.
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// Uids of pods that were let go uncounted because they were too many.
    dismissed: BTreeSet<String>,
    /// Uids of pods that came to an end.
    over: BTreeSet<String>,
}

impl World {
    fn new(job: Job) -> World {
        World {
            job,
            pods: BTreeMap::new(),
            made: 0,
            now: now(),
            succeeded: BTreeSet::new(),
            failed: BTreeSet::new(),
            dismissed: BTreeSet::new(),
            over: BTreeSet::new(),
        }
    }

    fn plan(&self) -> Plan {
        let mut view = View::default();
        view.apply(Event::Jobs(Change::Reset(vec![Arc::new(self.job.clone())], Revision(1))));
        let pods = self.pods.values().cloned().map(Arc::new).collect();
        view.apply(Event::Pods(Change::Reset(pods, Revision(1))));
        plan(&view.job(&ObjectKey::new("default", "sum")).expect("is there"), self.now)
    }

    /// Carries a plan out in the order of the execution, so many writes of it.
    fn carry_out(&mut self, plan: Plan, most: usize) {
        let mut left = most;
        let mut may = || {
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        let is_over =
            |status: &JobStatus| status.conditions.iter().flatten().any(|one| one.type_ == "Failed");
        for one in plan.dismiss {
            if !may() {
                return;
            }
            self.dismissed.insert(one.uid.clone());
            self.untrack(&one);
            self.delete(&one.name);
        }
        for one in plan.create {
            if !may() {
                return;
            }
            self.create(&one);
        }
        if let Some(status) = plan.status {
            if !may() {
                return;
            }
            self.write(status, is_over);
        }
        for one in plan.delete {
            if !may() {
                return;
            }
            self.delete(&one.name);
        }
        for one in plan.untrack {
            if !may() {
                return;
            }
            self.untrack(&one);
        }
    }

    fn create(&mut self, like: &Pod) {
        self.made += 1;
        let name = format!("p{:03}", self.made);
        let mut one = like.clone();
        one.metadata.uid = Some(format!("uid-{name}"));
        one.metadata.creation_timestamp = Some(Time(self.now));
        one.metadata.name = Some(name.clone());
        one.status = Some(PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() });
        self.pods.insert(name, one);
    }

    fn write(&mut self, status: JobStatus, is_over: impl Fn(&JobStatus) -> bool) {
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        self.succeeded.extend(uncounted.succeeded.into_iter().flatten());
        self.failed.extend(uncounted.failed.into_iter().flatten());
        assert!(self.succeeded.is_disjoint(&self.failed), "a pod is counted once");
        let before = self.job.status.clone().unwrap_or_default();
        assert!(
            status.succeeded >= before.succeeded && status.failed >= before.failed,
            "nothing is uncounted"
        );
        assert!(!is_over(&before), "what is over stays as it is");
        self.job.status = Some(status);
    }

    fn delete(&mut self, name: &str) {
        let Some(one) = self.pods.get_mut(name) else { return };
        one.metadata.deletion_timestamp.get_or_insert(Time(self.now));
        self.clear(name);
    }

    fn untrack(&mut self, named: &Named) {
        if let Some(one) = self.pods.get_mut(&named.name) {
            one.metadata.finalizers = None;
        }
        self.clear(&named.name);
    }

    /// The API removes a pod that is deleted, over and waited for by nobody.
    fn clear(&mut self, name: &str) {
        let is_gone = self.pods.get(name).is_some_and(|one| {
            meta::is_terminating(&one.metadata) && pod::is_failed_or_succeeded(one) && !job::is_tracked(one)
        });
        if is_gone {
            self.pods.remove(name);
        }
    }

    fn end(&mut self, name: &str, well: bool) {
        let Some(one) = self.pods.get_mut(name).filter(|one| !pod::is_failed_or_succeeded(one)) else {
            return;
        };
        let phase = if well { "Succeeded" } else { "Failed" };
        one.status = Some(PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() });
        self.over.extend(one.metadata.uid.clone());
        self.clear(name);
    }

    fn name_at(&self, place: usize) -> Option<String> {
        let open: Vec<_> = self.pods.values().filter(|one| !pod::is_failed_or_succeeded(one)).collect();
        let one = open.get(place % open.len().max(1))?;
        one.metadata.name.clone()
    }

    fn happen(&mut self, happening: &Happening) {
        // No wait is so long.
        self.now += SignedDuration::from_secs(700);
        match happening {
            Happening::Decides(most) => {
                let plan = self.plan();
                self.carry_out(plan, *most);
            }
            Happening::Ends(place, well) => {
                if let Some(name) = self.name_at(*place) {
                    self.end(&name, *well);
                }
            }
            Happening::IsDeleted(place) => {
                if let Some(name) = self.name_at(*place) {
                    self.delete(&name);
                }
            }
            Happening::Vanishes(place) => {
                let name = self.name_at(*place);
                if let Some(name) = name.filter(|name| meta::is_terminating(&self.pods[name].metadata)) {
                    self.end(&name, false);
                }
            }
        }
    }

    /// No more accidents: what is deleted ends, what runs succeeds, the controller is never cut off.
    fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.now += SignedDuration::from_secs(700);
            let plan = self.plan();
            if plan.is_quiet(&self.job) && job::is_finished(&self.job) {
                return;
            }
            self.carry_out(plan, usize::MAX);
            let running: Vec<String> = self.pods.keys().cloned().collect();
            for name in running {
                let is_deleted = self.pods.get(&name).is_some_and(|one| meta::is_terminating(&one.metadata));
                self.end(&name, !is_deleted);
            }
        }
        panic!("it does not come to its end: {:?}", self.job.status);
    }

    fn counts(&self) -> (usize, usize) {
        let status = self.job.status.clone().unwrap_or_default();
        let count = |count: Option<i32>| usize::try_from(count.unwrap_or_default()).expect("is not negative");
        (count(status.succeeded), count(status.failed))
    }
}

proptest! {
    #[test]
    fn each_pod_is_counted_exactly_once_whatever_is_cut_off(
        completions in 1_u32..6, parallelism in 1_u32..4, limit in 0_u32..8, patient in any::<bool>(),
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let policy = if patient { "Failed" } else { "TerminatingOrFailed" };
        let spec = json!({
            "completions": completions, "parallelism": parallelism, "backoffLimit": limit,
            "podReplacementPolicy": policy,
        });
        let mut world = World::new(super::job(&spec, &json!({})));
        for happening in &happenings {
            world.happen(happening);
        }
        world.come_to_rest();
        let (succeeded, failed) = world.counts();
        prop_assert_eq!((succeeded, failed), (world.succeeded.len(), world.failed.len()));
        let counted: BTreeSet<&String> = world.succeeded.union(&world.failed).collect();
        for uid in &world.over {
            prop_assert!(counted.contains(uid) || world.dismissed.contains(uid), "{} is in no count", uid);
        }
        if job::condition(&world.job, "Complete").is_some() {
            prop_assert!(succeeded >= completions as usize);
        } else {
            prop_assert!(failed > limit as usize);
        }
        prop_assert!(world.pods.values().all(|one| !job::is_tracked(one)), "nobody waits");
    }

    #[test]
    fn each_index_is_done_once_or_fails_whatever_is_cut_off(
        completions in 1_u32..6, per_index in 0_u32..3,
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let spec = json!({ "backoffLimitPerIndex": per_index, "backoffLimit": i32::MAX });
        let mut world = World::new(indexed(completions, &spec, &json!({})));
        for happening in &happenings {
            world.happen(happening);
        }
        world.come_to_rest();
        let status = world.job.status.clone().unwrap_or_default();
        let read = |text: &Option<String>| {
            model::indexes::Intervals::parse(text.as_deref().unwrap_or_default(), completions).expect("is right")
        };
        let (done, lost) = (read(&status.completed_indexes), read(&status.failed_indexes));
        prop_assert_eq!(done.overlap(&lost), None);
        prop_assert_eq!(done.count() + lost.count(), completions);
        prop_assert_eq!(lost.is_empty(), job::condition(&world.job, "Complete").is_some());
        prop_assert_eq!(world.counts().1, world.failed.len());
    }
}
