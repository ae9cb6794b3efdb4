//! Pods as they begin to wait, get a place and lose it; and what each of that may help.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::Pod;
use model::{meta, pod};
use reconcile::runner::ObjectKey;

use super::{Place, View, Waiting, labels_of, placed};
use crate::NAME;
use crate::filters::Cause;
use crate::neighbours::Placed;
use crate::plan::Plan;
use crate::request::Request;
use crate::terms::{self, Demands};

/// What a pod gives free that goes.
const LEAVING_HELPS: [Cause; 3] = [Cause::Room, Cause::Neighbours, Cause::Volumes];
/// What a pod changes that comes, or is seen by others as another.
const COMING_HELPS: [Cause; 1] = [Cause::Neighbours];
const NOTHING: [Cause; 0] = [];

impl View {
    pub(super) fn apply_pods(&mut self, change: Change<Pod>) -> BTreeSet<ObjectKey> {
        match change {
            Change::Reset(pods, _) => {
                let waiting: Vec<ObjectKey> = self.pending.keys().cloned().collect();
                self.places.clear();
                self.tenants.clear();
                self.taken.clear();
                self.users.clear();
                self.neighbours.clear_places();
                let there: BTreeSet<ObjectKey> = pods.iter().map(|pod| ObjectKey::of(&**pod)).collect();
                for key in waiting.iter().filter(|key| !there.contains(key)) {
                    self.stop_waiting(key);
                }
                for pod in pods {
                    self.apply_pod(pod);
                }
                self.unplaced.clear();
                self.pending.keys().cloned().collect()
            }
            Change::Apply(pod) => {
                let key = ObjectKey::of(&*pod);
                let helps = self.apply_pod(pod);
                let mut touched = self.retried(helps);
                if self.pending.contains_key(&key) {
                    touched.insert(key);
                }
                touched
            }
            Change::Delete(pod) => {
                let key = ObjectKey::of(&*pod);
                let freed = self.stop_waiting(&key) | self.leave(&key);
                if freed { self.retried(&LEAVING_HELPS) } else { BTreeSet::new() }
            }
        }
    }

    /// What it may help.
    fn apply_pod(&mut self, pod: Arc<Pod>) -> &'static [Cause] {
        let key = ObjectKey::of(&*pod);
        if pod::is_failed_or_succeeded(&pod) {
            let freed = self.stop_waiting(&key) | self.leave(&key);
            return if freed { &LEAVING_HELPS } else { &NOTHING };
        }
        if let Some(node) = pod::node_name(&pod) {
            let node = node.to_owned();
            let freed = self.nomination(&key).is_some_and(|promised| promised != node);
            self.stop_waiting(&key);
            let helps = self.take(key, &node, &pod, true);
            return if freed { &LEAVING_HELPS } else { helps };
        }
        let freed = if is_ours(&pod) { self.wait(key, pod) } else { self.stop_waiting(&key) };
        if freed { &LEAVING_HELPS } else { &NOTHING }
    }

    /// True when it gave back room that it was promised.
    fn wait(&mut self, key: ObjectKey, pod: Arc<Pod>) -> bool {
        let before = self.nomination(&key).map(str::to_owned);
        self.ask(&key, pod);
        let after = self.nomination(&key).map(str::to_owned);
        self.renominate(&key, before.as_deref(), after.as_deref());
        before.is_some() && before != after
    }

    fn renominate(&mut self, key: &ObjectKey, before: Option<&str>, after: Option<&str>) {
        if before == after {
            return;
        }
        if let Some(before) = before
            && let Some(pods) = self.nominated.get_mut(before)
        {
            pods.remove(key);
            if pods.is_empty() {
                self.nominated.remove(before);
            }
        }
        if let Some(after) = after {
            self.nominated.entry(after.to_owned()).or_default().insert(key.clone());
        }
    }

    /// Promises a waiting pod room on a node, or forgets what a decision promised.
    fn promise(&mut self, key: &ObjectKey, node: Option<&str>) {
        let before = self.nomination(key).map(str::to_owned);
        let Some(waiting) = self.pending.get_mut(key) else { return };
        waiting.promised = node.map(str::to_owned);
        let after = waiting.nominated().map(str::to_owned);
        self.renominate(key, before.as_deref(), after.as_deref());
    }

    fn ask(&mut self, key: &ObjectKey, pod: Arc<Pod>) {
        if let Some(waiting) = self.pending.get_mut(key)
            && asks_the_same(&waiting.pod, &pod)
        {
            waiting.pod = pod;
            return;
        }
        let View { neighbours, places, machines, .. } = self;
        let demands = Demands::of(&pod, neighbours.namespaces());
        let places = |namespace: Option<&str>| placed(places, machines, namespace);
        neighbours.ask(&demands, places, |node| labels_of(machines, node));
        let waiting = Waiting { pod, demands, promised: None };
        if let Some(before) = self.pending.insert(key.clone(), waiting) {
            self.neighbours.unask(&before.demands);
        }
    }

    /// True when it gave back room that it was promised.
    fn stop_waiting(&mut self, key: &ObjectKey) -> bool {
        self.unplaced.remove(key);
        let Some(waiting) = self.pending.remove(key) else { return false };
        self.neighbours.unask(&waiting.demands);
        self.renominate(key, waiting.nominated(), None);
        waiting.nominated().is_some()
    }

    /// Gives back what an earlier decision took for a pod that is still without a node.
    pub fn give_back(&mut self, key: &ObjectKey) {
        if self.pending.contains_key(key) {
            self.leave(key);
            self.promise(key, None);
        }
    }

    /// Remembers what was decided: a reservation, or that the pod is to be tried again.
    pub fn note(&mut self, key: &ObjectKey, plan: &Plan) {
        let causes = match plan {
            Plan::Bind { node, .. } => {
                self.unplaced.remove(key);
                if let Some(pod) = self.pending.get(key).map(|waiting| Arc::clone(&waiting.pod)) {
                    self.take(key.clone(), node, &pod, false);
                }
                return;
            }
            Plan::Claims { volumes, .. } => {
                let namespace = &key.namespace;
                let given = volumes.iter().map(|(claim, volume)| {
                    (volume.clone(), ObjectKey::new(namespace.clone(), claim.clone()))
                });
                self.given.extend(given);
                every_cause()
            }
            Plan::Preempt { node, .. } => {
                self.promise(key, Some(node));
                every_cause()
            }
            Plan::Wait { .. } | Plan::Await { .. } => every_cause(),
            Plan::Unschedulable { causes, .. } => causes.clone(),
        };
        self.leave(key);
        self.unplaced.insert(key.clone(), causes);
    }

    /// Gives a pod its place; `is_told` says that it is the API that says so.
    fn take(&mut self, key: ObjectKey, node: &str, pod: &Arc<Pod>, is_told: bool) -> &'static [Cause] {
        if let Some(place) = self.places.get_mut(&key)
            && place.node == node
            && is_same_to_others(&place.pod, pod)
        {
            let is_new = is_told && !place.is_told;
            place.is_told |= is_told;
            place.pod = Arc::clone(pod);
            return if is_new { &COMING_HELPS } else { &NOTHING };
        }
        let left = self.leave(&key);
        let request = Request::of(pod);
        self.taken.entry(node.to_owned()).or_default().add(&request);
        self.tenants.entry(node.to_owned()).or_default().insert(key.clone());
        let claims = crate::volumes::claim_names(pod);
        for claim in &claims {
            let claim = ObjectKey::new(key.namespace.clone(), claim.clone());
            self.users.entry(claim).or_default().insert(key.clone());
        }
        let labels = labels_of(&self.machines, node);
        let holds = self.neighbours.come(&Placed { pod, node, labels });
        let place = Place { node: node.to_owned(), pod: Arc::clone(pod), request, claims, holds, is_told };
        self.places.insert(key, place);
        if left { &LEAVING_HELPS } else { &COMING_HELPS }
    }

    fn leave(&mut self, key: &ObjectKey) -> bool {
        let Some(place) = self.places.remove(key) else { return false };
        let labels = labels_of(&self.machines, &place.node);
        self.neighbours.leave(&Placed { pod: &place.pod, node: &place.node, labels }, &place.holds);
        for claim in &place.claims {
            let claim = ObjectKey::new(key.namespace.clone(), claim.clone());
            if let Some(users) = self.users.get_mut(&claim) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(&claim);
                }
            }
        }
        if let Some(taken) = self.taken.get_mut(&place.node) {
            taken.take_off(&place.request);
        }
        if let Some(tenants) = self.tenants.get_mut(&place.node) {
            tenants.remove(key);
            if tenants.is_empty() {
                self.tenants.remove(&place.node);
                self.taken.remove(&place.node);
            }
        }
        true
    }
}

fn every_cause() -> BTreeSet<Cause> {
    BTreeSet::from([Cause::Node, Cause::Room, Cause::Neighbours, Cause::Volumes])
}

/// True when a waiting pod's questions are still the same.
fn asks_the_same(old: &Pod, new: &Pod) -> bool {
    let asked = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        spec.map(|spec| (spec.affinity.clone(), spec.topology_spread_constraints.clone()))
    };
    old.metadata.uid == new.metadata.uid
        && terms::labels(old) == terms::labels(new)
        && asked(old) == asked(new)
}

/// True when a placed pod is to others what it was.
fn is_same_to_others(old: &Pod, new: &Pod) -> bool {
    let terminating = |pod: &Pod| meta::is_terminating(&pod.metadata);
    old.metadata.uid == new.metadata.uid
        && terms::labels(old) == terms::labels(new)
        && terminating(old) == terminating(new)
}

fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let name = spec.scheduler_name.as_deref().unwrap_or(NAME);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    name == NAME && !gated && pod.metadata.deletion_timestamp.is_none()
}
