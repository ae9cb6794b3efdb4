//! The rules of order and of claims, checked at every revision that the store makes durable.
//!
//! A controller decides on a picture that lags behind, and is right to do what was right at any moment since
//! the last write of its plan before, if it was told that this had gone through: from then on its picture
//! shows that write, and a picture of one kind is always the whole state of that kind at one revision. So a
//! rule of order is broken where it held at none of those moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model::encoded::Revision;
use model::{meta, ordinal, pod};
use store::{Event, EventKind};

use crate::machine::Ledger;
use crate::record::Record;

/// Who makes and deletes a set's pods.
const SET_CONTROLLER: &str = "statefulset-controller";
/// Who deletes what has no owner any more.
const COLLECTOR: &str = "generic-garbage-collector";
/// Who deletes what a tainted node does not suffer any longer.
const TAINTS: &str = "taint-eviction-controller";
/// Who may do anything.
pub(crate) const USER: &str = "user";
/// The label that tells the versions of a template apart.
pub(crate) const VERSION: &str = "version";

/// Looks at every change.
pub(crate) struct Safety {
    record: Arc<Record>,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: Revision,
    /// Sets that there are, by uid.
    sets: BTreeMap<String, SetEntry>,
    /// Pods by the name of the set that they are called after.
    pods: BTreeMap<String, Pods>,
    /// Uids of all pods that there are.
    pod_uids: BTreeSet<String>,
    /// Names of sets that ever asked for their claims to be deleted.
    deleters: BTreeSet<String>,
}

struct SetEntry {
    created: Revision,
    is_terminating: bool,
    /// Every spec with the revision that brought it.
    specs: Vec<(Revision, Spec)>,
}

#[derive(Clone, PartialEq)]
struct Spec {
    replicas: i32,
    is_ordered: bool,
    partition: i32,
    is_rolling: bool,
    version: String,
}

#[derive(Default)]
struct Pods {
    /// Every state of all pods with the revision that brought it.
    states: Vec<(Revision, BTreeMap<i32, PodState>)>,
    /// When an ordinal's name last became free.
    freed: BTreeMap<i32, Revision>,
    /// The newest write of the controller that it was told of ...
    acknowledged: Revision,
    /// ... and the newest of those before the plan that it carries out: that plan was made on a picture that
    /// shows these. A plan ends with the set's status.
    settled: Revision,
    /// The newest write of the set itself that it was told of: its picture of sets, which comes another way
    /// than that of pods, shows at least this.
    status_acknowledged: Revision,
}

#[derive(Clone)]
struct PodState {
    uid: String,
    /// The uid of who manages it; empty for an orphan.
    owner: String,
    version: String,
    is_ready: bool,
    has_been_ready: bool,
    is_over: bool,
    is_terminating: bool,
}

impl Safety {
    pub(crate) fn new(record: Arc<Record>, ledger: Arc<Ledger>) -> Safety {
        Safety { record, ledger, state: Mutex::default() }
    }

    /// The newest revision.
    pub(crate) fn revision(&self) -> Revision {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// The set controller was told that a write of a pod went through, at this revision or before.
    pub(crate) fn acknowledged(&self, pod: &str, revision: Revision) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((set, _)) = ordinal::parse(pod) {
            let pods = state.pods.entry(set.to_owned()).or_default();
            pods.acknowledged = pods.acknowledged.max(revision);
        }
    }

    /// The set controller was told that a write of a set went through, at this revision or before.
    pub(crate) fn set_acknowledged(&self, set: &str, revision: Revision) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pods) = state.pods.get_mut(set) {
            pods.status_acknowledged = pods.status_acknowledged.max(revision);
        }
    }

    /// The set controller comes to the end of a plan.
    pub(crate) fn plan_ends(&self, set: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pods) = state.pods.get_mut(set) {
            pods.settled = pods.acknowledged;
        }
    }

    /// Looks at one change; `by` made it.
    pub(crate) fn see(&self, event: &Event, by: &'static str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, object, revision) = (event.kind, &event.entry.object, event.revision());
        state.revision = revision;
        let key: &str = &event.entry.key;
        let broken = if key.starts_with("/registry/pods/") {
            state.see_pod(kind, &object.decode::<Pod>().expect("is a pod"), revision, by, &self.ledger)
        } else if key.starts_with("/registry/statefulsets/") {
            state.see_set(kind, &object.decode::<StatefulSet>().expect("is a set"), revision);
            None
        } else if key.starts_with("/registry/persistentvolumeclaims/") {
            let before = event.previous.as_ref();
            let before = before.map(|before| before.decode::<PersistentVolumeClaim>().expect("is a claim"));
            let claim = object.decode::<PersistentVolumeClaim>().expect("is a claim");
            state.see_claim(kind, before.as_deref(), &claim, by)
        } else {
            None
        };
        if let Some(rule) = broken {
            self.record.broke(&rule);
        }
    }
}

impl State {
    fn see_set(&mut self, kind: EventKind, set: &StatefulSet, revision: Revision) {
        let uid = set.metadata.uid.clone().unwrap_or_default();
        if kind == EventKind::Deleted {
            self.sets.remove(&uid);
            return;
        }
        let name = set.metadata.name.clone().unwrap_or_default();
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
        if policy.is_some_and(|policy| {
            deletes(policy.when_deleted.as_ref()) || deletes(policy.when_scaled.as_ref())
        }) {
            self.deleters.insert(name);
        }
        let strategy = set.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let labels = set.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        let spec = Spec {
            replicas: set.spec.replicas.unwrap_or(1),
            is_ordered: set.spec.pod_management_policy.as_deref() != Some("Parallel"),
            partition: rolling.and_then(|rolling| rolling.partition).unwrap_or_default(),
            is_rolling: strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete"),
            version: labels.and_then(|labels| labels.get(VERSION)).cloned().unwrap_or_default(),
        };
        let entry = self.sets.entry(uid).or_insert_with(|| SetEntry {
            created: revision,
            is_terminating: false,
            specs: Vec::new(),
        });
        entry.is_terminating = meta::is_terminating(&set.metadata);
        if entry.specs.last().is_none_or(|(_, last)| *last != spec) {
            entry.specs.push((revision, spec));
        }
    }

    fn see_pod(
        &mut self,
        kind: EventKind,
        pod: &Pod,
        revision: Revision,
        by: &'static str,
        ledger: &Ledger,
    ) -> Option<String> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let (set, ordinal) = ordinal::parse(name)?;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let pods = self.pods.entry(set.to_owned()).or_default();
        let mut now = pods.states.last().map(|(_, now)| now.clone()).unwrap_or_default();
        let before = now.get(&ordinal).cloned();
        let mut broken = None;
        let owner = meta::controller_of(&pod.metadata).filter(|owner| owner.kind == "StatefulSet");
        let owner = owner.and_then(|owner| self.sets.get(&owner.uid));
        let begins_to_go = match kind {
            EventKind::Created => {
                if by == SET_CONTROLLER
                    && let Some(owner) = owner
                {
                    broken = pods.created_too_early(owner, ordinal, name);
                }
                false
            }
            EventKind::Updated => {
                meta::is_terminating(&pod.metadata) && !before.as_ref().is_some_and(|pod| pod.is_terminating)
            }
            EventKind::Deleted => !before.as_ref().is_some_and(|pod| pod.is_terminating),
        };
        if begins_to_go && let Some(before) = &before {
            if by == SET_CONTROLLER {
                broken = pods.deleted_without_reason(owner, ordinal, before, name);
            } else if by == COLLECTOR && owner.is_some_and(|owner| !owner.is_terminating) {
                broken = Some(format!("rule 5: the collector deletes {name}, whose owner is there"));
            } else if ![USER, COLLECTOR, TAINTS, "kubelet"].contains(&by) {
                broken = Some(format!("rule 4: {by} deletes {name}"));
            }
        }
        if kind == EventKind::Deleted {
            now.remove(&ordinal);
            pods.freed.insert(ordinal, revision);
            self.pod_uids.remove(&uid);
            if by == USER {
                ledger.forced_out(&uid);
            }
        } else {
            // One that is deleted in the foreground asks for what it owns to go before it.
            let finalizers = pod.metadata.finalizers.iter().flatten();
            if meta::is_terminating(&pod.metadata)
                && finalizers.into_iter().any(|finalizer| finalizer == "foregroundDeletion")
            {
                self.pod_uids.remove(&uid);
            } else {
                self.pod_uids.insert(uid.clone());
            }
            let is_ready = pod::is_running_and_ready(pod);
            let was = before.filter(|before| before.uid == uid);
            let labels = pod.metadata.labels.as_ref();
            let owner = meta::controller_of(&pod.metadata).map(|owner| owner.uid.clone());
            let state = PodState {
                uid,
                owner: owner.unwrap_or_default(),
                version: labels.and_then(|labels| labels.get(VERSION)).cloned().unwrap_or_default(),
                is_ready,
                has_been_ready: is_ready || was.is_some_and(|was| was.has_been_ready),
                is_over: pod::is_failed_or_succeeded(pod),
                is_terminating: meta::is_terminating(&pod.metadata),
            };
            now.insert(ordinal, state);
        }
        pods.states.push((revision, now));
        broken
    }

    fn see_claim(
        &mut self,
        kind: EventKind,
        before: Option<&PersistentVolumeClaim>,
        claim: &PersistentVolumeClaim,
        by: &'static str,
    ) -> Option<String> {
        let was_going = before.is_some_and(|before| meta::is_terminating(&before.metadata));
        let begins_to_go = match kind {
            EventKind::Created => false,
            EventKind::Updated => meta::is_terminating(&claim.metadata) && !was_going,
            EventKind::Deleted => !was_going,
        };
        if !begins_to_go || by == USER {
            return None;
        }
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        if by != COLLECTOR {
            return Some(format!("rule 5: {by} deletes claim {name}"));
        }
        let owners = before.and_then(|before| before.metadata.owner_references.as_ref());
        let Some(owners) = owners.filter(|owners| !owners.is_empty()) else {
            return Some(format!("rule 5: the collector deletes claim {name}, which nobody owned"));
        };
        let alive = owners.iter().find(|owner| {
            self.pod_uids.contains(&owner.uid)
                || self.sets.get(&owner.uid).is_some_and(|set| !set.is_terminating)
        });
        if let Some(alive) = alive {
            return Some(format!(
                "rule 5: the collector deletes claim {name}, whose owner {} is there",
                alive.name
            ));
        }
        let set = name.strip_prefix("data-").and_then(ordinal::parse).map(|(set, _)| set);
        if !set.is_some_and(|set| self.deleters.contains(set)) {
            return Some(format!("rule 5: claim {name} is deleted, and no policy says so"));
        }
        None
    }
}

impl Pods {
    /// The states since a revision, the one that was in force then among them.
    fn since(&self, base: Revision) -> impl Iterator<Item = &BTreeMap<i32, PodState>> {
        let behind = self.states.partition_point(|(revision, _)| *revision <= base);
        self.states[behind.saturating_sub(1)..].iter().map(|(_, state)| state)
    }

    /// An ordered set's pod is made once all lower ones are ready.
    fn created_too_early(&self, set: &SetEntry, ordinal: i32, name: &str) -> Option<String> {
        if !set.specs.last().is_some_and(|(_, spec)| spec.is_ordered) {
            return None;
        }
        let freed = self.freed.get(&ordinal).copied().unwrap_or_default();
        let is_ready = |state: &BTreeMap<i32, PodState>, lower: i32| {
            state.get(&lower).is_some_and(|pod| pod.is_ready && !pod.is_terminating)
        };
        let all_ready = |state: &BTreeMap<i32, PodState>| (0..ordinal).all(|lower| is_ready(state, lower));
        let held = ordinal == 0 || self.since(freed.max(set.created)).any(all_ready);
        (!held).then(|| format!("rule 4: {name} is made before all lower pods are ready"))
    }

    fn deleted_without_reason(
        &self,
        set: Option<&SetEntry>,
        ordinal: i32,
        pod: &PodState,
        name: &str,
    ) -> Option<String> {
        let Some(set) = set else {
            return Some(format!("rule 4: {SET_CONTROLLER} deletes {name}, which no set owns"));
        };
        let base = self.settled;
        let behind = set.specs.partition_point(|(revision, _)| *revision <= self.status_acknowledged);
        let specs = &set.specs[behind.saturating_sub(1)..];
        let held = self.since(base).any(|state| {
            let same = state.get(&ordinal).filter(|other| other.uid == pod.uid);
            same.is_some_and(|pod| specs.iter().any(|(_, spec)| may_go(state, spec, ordinal, pod)))
        });
        (!held).then(|| format!("rule 4: {name} is deleted out of order or without a reason"))
    }
}

/// Whether a set's pod may be deleted in this state, for one of the reasons that there are.
fn may_go(state: &BTreeMap<i32, PodState>, spec: &Spec, ordinal: i32, pod: &PodState) -> bool {
    if pod.is_over {
        return true;
    }
    if ordinal >= spec.replicas {
        // A pod that is not the set's (an orphan on its way out) stands in nobody's way.
        return !spec.is_ordered || state.range(ordinal + 1..).all(|(_, other)| other.owner != pod.owner);
    }
    let is_outdated = spec.is_rolling && pod.version != spec.version;
    // Below the partition a pod that never was ready goes back to the revision before.
    if !pod.has_been_ready && (is_outdated || ordinal < spec.partition) {
        return true;
    }
    if !is_outdated || ordinal < spec.partition {
        return false;
    }
    if !spec.is_ordered && !pod.is_ready {
        return true;
    }
    let is_well = |other: i32| state.get(&other).is_some_and(|pod| pod.is_ready && !pod.is_terminating);
    let is_done = |higher: i32| is_well(higher) && state[&higher].version == spec.version;
    (ordinal + 1..spec.replicas).all(is_done) && (spec.is_ordered || (0..ordinal).all(is_well))
}
