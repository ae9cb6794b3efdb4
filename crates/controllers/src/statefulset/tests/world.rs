//! A cluster small enough to hold in the hand: objects, a clock, and the view that sees every change at once.
//!
//! It stands for the API and for everything the controller does not do: nodes that start pods, people who
//! delete them, the garbage collector. What a plan says is done to it by [`World::carry_out`].

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Change, Typed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use model::encoded::Revision;
use model::meta;
use model::stateful_set::{ExtendedStatefulSet, Extra, Reserved};
use serde_json::{Value, json};

use crate::statefulset::decision::{ClaimWrite, Plan, PodWrite, Preparation, Step};
use crate::statefulset::plan::plan;
use crate::statefulset::set_kind;
use crate::statefulset::view::{Event, REVISION_LABEL, View};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

pub(super) const NAMESPACE: &str = "default";

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) sets: BTreeMap<String, StatefulSet>,
    /// What sets say beyond upstream's fields, but for their annotations.
    pub(super) extras: BTreeMap<String, Extra>,
    pub(super) pods: BTreeMap<String, Pod>,
    pub(super) claims: BTreeMap<String, PersistentVolumeClaim>,
    pub(super) revisions: BTreeMap<String, ControllerRevision>,
    pub(super) view: View,
    counter: u64,
}

impl World {
    pub(super) fn new() -> World {
        let mut view = View::default();
        view.apply(Event::Sets(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Pods(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Claims(Change::Reset(Vec::new(), Revision(1))));
        view.apply(Event::Revisions(Change::Reset(Vec::new(), Revision(1))));
        assert!(view.is_synced());
        World {
            now: "2026-01-01T00:00:00Z".parse().expect("is a time"),
            sets: BTreeMap::new(),
            extras: BTreeMap::new(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            revisions: BTreeMap::new(),
            view,
            counter: 1,
        }
    }

    pub(super) fn tick(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub(super) fn plan(&self, set: &str) -> Option<Plan> {
        let view = self.view.set(&ObjectKey::new(NAMESPACE, set))?;
        Some(plan(&view, self.now))
    }

    /// The same, made by looking at every pod.
    pub(super) fn plan_by_looking_at_all(&self, set: &str) -> Option<Plan> {
        self.view.looks_at_all.set(true);
        let plan = self.plan(set);
        self.view.looks_at_all.set(false);
        plan
    }

    // Writes, as the API does them.

    fn stamp<K: Typed>(&mut self, object: &mut K) {
        self.counter += 1;
        let metadata = object.metadata_mut();
        metadata.namespace = Some(NAMESPACE.to_owned());
        metadata.resource_version = Some(self.counter.to_string());
        if metadata.uid.is_none() {
            metadata.uid = Some(format!("uid-{}", self.counter));
            metadata.creation_timestamp = Some(Time(self.now));
        }
    }

    pub(super) fn put_set(&mut self, mut set: StatefulSet) {
        self.stamp(&mut set);
        self.sets.insert(name_of(&set), set.clone());
        let set = self.extended(set);
        self.view.apply(Event::Sets(Change::Apply(Arc::new(set))));
    }

    pub(super) fn put_pod(&mut self, mut pod: Pod) {
        self.stamp(&mut pod);
        self.pods.insert(name_of(&pod), pod.clone());
        self.view.apply(Event::Pods(Change::Apply(Arc::new(pod))));
    }

    pub(super) fn put_claim(&mut self, mut claim: PersistentVolumeClaim) {
        self.stamp(&mut claim);
        self.claims.insert(name_of(&claim), claim.clone());
        self.view.apply(Event::Claims(Change::Apply(Arc::new(claim))));
    }

    pub(super) fn put_revision(&mut self, mut revision: ControllerRevision) {
        self.stamp(&mut revision);
        self.revisions.insert(name_of(&revision), revision.clone());
        self.view.apply(Event::Revisions(Change::Apply(Arc::new(revision))));
    }

    pub(super) fn remove_set(&mut self, name: &str) {
        let mut set = self.sets.remove(name).expect("the set exists");
        self.stamp(&mut set);
        let set = self.extended(set);
        self.view.apply(Event::Sets(Change::Delete(Arc::new(set))));
    }

    fn extended(&self, set: StatefulSet) -> ExtendedStatefulSet {
        let mut extra = self.extras.get(&name_of(&set)).cloned().unwrap_or_default();
        let annotations = set.metadata.annotations.iter().flatten();
        let read = extra.read_annotations(annotations.map(|(key, value)| (key.as_str(), value.as_str())));
        ExtendedStatefulSet { set, extra: read.map(|()| extra).map_err(|error| error.to_string()) }
    }

    pub(super) fn remove_pod(&mut self, name: &str) {
        let mut pod = self.pods.remove(name).expect("the pod exists");
        self.stamp(&mut pod);
        self.view.apply(Event::Pods(Change::Delete(Arc::new(pod))));
    }

    pub(super) fn remove_claim(&mut self, name: &str) {
        let mut claim = self.claims.remove(name).expect("the claim exists");
        self.stamp(&mut claim);
        self.view.apply(Event::Claims(Change::Delete(Arc::new(claim))));
    }

    fn remove_revision(&mut self, name: &str) {
        let mut revision = self.revisions.remove(name).expect("the revision exists");
        self.stamp(&mut revision);
        self.view.apply(Event::Revisions(Change::Delete(Arc::new(revision))));
    }

    // What the controller does.

    /// Does what a plan says, as far as it goes; the error is the first write that was refused.
    pub(super) fn carry_out(&mut self, plan: &Plan) -> Result<(), String> {
        self.view.remember(&ObjectKey::new(NAMESPACE, plan.name.clone()), plan.memory.clone());
        let mut done = self.prepare(plan, &plan.prepare);
        for step in &plan.steps {
            done = done.and_then(|()| self.step(step));
        }
        if let Some(status) = &plan.status {
            let mut set = self.sets.get(&plan.name).expect("the set exists").clone();
            set.status = Some(status.clone());
            self.put_set(set);
        }
        done.and(self.prepare(plan, &plan.forget))
    }

    fn prepare(&mut self, plan: &Plan, all: &[Preparation]) -> Result<(), String> {
        for preparation in all {
            match preparation {
                Preparation::ConfirmAlive => {
                    let set = self.sets.get(&plan.name).ok_or("the set is gone")?;
                    let is_same = set.metadata.uid.as_deref() == Some(&plan.uid);
                    if !is_same || meta::is_terminating(&set.metadata) {
                        return Err("the set is being deleted".to_owned());
                    }
                }
                Preparation::AdoptRevision { name, .. } => {
                    let mut revision = self.revisions.get(name).expect("exists").clone();
                    revision.metadata.owner_references = Some(vec![self.owner(plan)]);
                    self.put_revision(revision);
                }
                Preparation::AdoptPod { name, uid } => {
                    let mut pod = self.pod_with_uid(name, uid)?;
                    pod.metadata.owner_references.get_or_insert_default().push(self.owner(plan));
                    self.put_pod(pod);
                }
                Preparation::ReleasePod { name, uid } => {
                    let mut pod = self.pod_with_uid(name, uid)?;
                    let owners = pod.metadata.owner_references.get_or_insert_default();
                    owners.retain(|owner| owner.uid != plan.uid);
                    self.put_pod(pod);
                }
                Preparation::CreateRevision { revision } => {
                    let name = revision.metadata.name.as_deref().unwrap_or_default();
                    if self.revisions.contains_key(name) {
                        return Err(format!("revision {name} already exists"));
                    }
                    self.put_revision((**revision).clone());
                }
                Preparation::RaiseRevision { name, number, .. } => {
                    let mut revision = self.revisions.get(name).expect("exists").clone();
                    revision.revision = Some(*number);
                    self.put_revision(revision);
                }
                Preparation::Reserve { ordinals, .. } => {
                    let entries = ordinals.as_array().expect("is a list");
                    let reserved = Reserved::parse(entries).expect("is right");
                    self.extras.entry(plan.name.clone()).or_default().reserved = reserved;
                    let mut set = self.sets.get(&plan.name).expect("the set exists").clone();
                    set.metadata.generation = set.metadata.generation.map(|generation| generation + 1);
                    self.put_set(set);
                }
                Preparation::DeleteRevision { name, .. } => self.remove_revision(name),
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        for claim in &step.claims {
            match claim {
                ClaimWrite::Create(claim) => {
                    if !self.claims.contains_key(claim.metadata.name.as_deref().unwrap_or_default()) {
                        self.put_claim((**claim).clone());
                    }
                }
                ClaimWrite::SetOwners(claim) => self.put_claim((**claim).clone()),
                ClaimWrite::Update(update) => {
                    let claim = self.claims.get(&update.claim).ok_or("the claim is gone")?;
                    if claim.metadata.resource_version.as_ref() != Some(&update.resource_version) {
                        return Err(format!("claim {} has changed", update.claim));
                    }
                    let changed = update.applied(claim);
                    self.put_claim(changed);
                }
            }
        }
        match &step.write {
            PodWrite::None => {}
            PodWrite::Create(pod) => {
                if self.pods.contains_key(&step.pod) {
                    return Err(format!("pod {} already exists", step.pod));
                }
                let mut pod = (**pod).clone();
                pod.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
                self.put_pod(pod);
            }
            PodWrite::Update(pod) => self.put_pod((**pod).clone()),
            PodWrite::Relabel { uid, revision } => {
                let mut pod = self.pod_with_uid(&step.pod, uid)?;
                let labels = pod.metadata.labels.get_or_insert_default();
                labels.insert(REVISION_LABEL.to_owned(), revision.clone());
                self.put_pod(pod);
            }
            PodWrite::Delete { uid, resource_version, .. } => {
                let pod = self.pod_with_uid(&step.pod, uid)?;
                if resource_version.is_some() && pod.metadata.resource_version != *resource_version {
                    return Err(format!("pod {} has changed", step.pod));
                }
                self.delete_pod(&step.pod);
            }
        }
        Ok(())
    }

    fn pod_with_uid(&self, name: &str, uid: &str) -> Result<Pod, String> {
        let pod = self.pods.get(name).ok_or_else(|| format!("pod {name} not found"))?;
        if pod.metadata.uid.as_deref() != Some(uid) {
            return Err(format!("pod {name} is another one"));
        }
        Ok(pod.clone())
    }

    fn owner(&self, plan: &Plan) -> OwnerReference {
        let set = self.sets.get(&plan.name).expect("the set exists");
        meta::owner_reference(&set.metadata, &set_kind())
    }

    // What others do.

    /// Asks for a pod's deletion; it stays until it is removed.
    pub(super) fn delete_pod(&mut self, name: &str) {
        let mut pod = self.pods.get(name).expect("the pod exists").clone();
        let at = self.now + SignedDuration::from_secs(30);
        pod.metadata.deletion_timestamp.get_or_insert(Time(at));
        self.put_pod(pod);
    }

    /// Gives a pod a phase and says whether it is ready, as its node would.
    pub(super) fn set_phase(&mut self, name: &str, phase: &str, is_ready: bool, state: &Value) {
        let mut pod = self.pods.get(name).unwrap_or_else(|| panic!("there is no pod {name}")).clone();
        let status = json!({
            "phase": phase,
            "conditions": [{
                "type": "Ready",
                "status": if is_ready { "True" } else { "False" },
                "lastTransitionTime": Time(self.now),
            }],
            "containerStatuses": [{
                "name": "app", "image": "", "imageID": "", "ready": is_ready, "started": true,
                "restartCount": if state.get("waiting").is_some() { 3 } else { 0 },
                "state": state,
            }],
        });
        pod.status = Some(serde_json::from_value(status).expect("is a status"));
        self.put_pod(pod);
    }

    pub(super) fn make_ready(&mut self, name: &str) {
        self.set_phase(name, "Running", true, &json!({ "running": {} }));
    }

    /// Lists the Services anew: one, which is headless or not, or none.
    pub(super) fn list_services(&mut self, service: Option<(&str, bool)>) {
        let service = service.map(|(name, is_headless)| {
            let address = if is_headless { "None" } else { "10.96.0.1" };
            let service = json!({
                "metadata": { "name": name, "namespace": NAMESPACE }, "spec": { "clusterIP": address },
            });
            Arc::new(serde_json::from_value(service).expect("is a Service"))
        });
        self.counter += 1;
        let change = Change::Reset(service.into_iter().collect(), Revision(self.counter));
        self.view.apply(Event::Services(change));
    }

    /// Lists the storage classes anew: one, which lets volumes grow or not.
    pub(super) fn list_class(&mut self, name: &str, lets_grow: bool) {
        let class = json!({
            "metadata": { "name": name }, "provisioner": "test", "allowVolumeExpansion": lets_grow,
        });
        let class = Arc::new(serde_json::from_value(class).expect("is a class"));
        self.counter += 1;
        self.view.apply(Event::Classes(Change::Reset(vec![class], Revision(self.counter))));
    }

    /// Gives a claim a volume of this size, with the attributes of its class, as a driver would.
    pub(super) fn bind_claim(&mut self, name: &str, size: Option<&str>) {
        let mut claim = self.claims.get(name).unwrap_or_else(|| panic!("there is no claim {name}")).clone();
        let spec = claim.spec.clone().unwrap_or_default();
        let asked = spec.resources.and_then(|resources| resources.requests);
        let given = size.map(|size| BTreeMap::from([("storage".to_owned(), Quantity(size.to_owned()))]));
        claim.status = Some(PersistentVolumeClaimStatus {
            phase: Some("Bound".to_owned()),
            capacity: given.or(asked),
            current_volume_attributes_class_name: spec.volume_attributes_class_name,
            ..PersistentVolumeClaimStatus::default()
        });
        self.put_claim(claim);
    }

    /// Says of a claim how its change is getting on.
    pub(super) fn claim_condition(&mut self, name: &str, kind: &str, message: &str) {
        let mut claim = self.claims.get(name).unwrap_or_else(|| panic!("there is no claim {name}")).clone();
        let condition = json!([{ "type": kind, "status": "True", "message": message }]);
        let status = claim.status.get_or_insert_default();
        status.conditions = serde_json::from_value(condition).expect("is a condition");
        self.put_claim(claim);
    }

    /// Claims that follow revisions get what they ask for; true when one did.
    pub(super) fn serve_claims(&mut self) -> bool {
        let is_served = |claim: &PersistentVolumeClaim| {
            let status = claim.status.clone().unwrap_or_default();
            let spec = claim.spec.clone().unwrap_or_default();
            status.phase.as_deref() == Some("Bound")
                && status.capacity == spec.resources.and_then(|resources| resources.requests)
                && status.current_volume_attributes_class_name == spec.volume_attributes_class_name
        };
        let follows = |claim: &PersistentVolumeClaim| {
            claim.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(REVISION_LABEL))
        };
        let claims = self.claims.values().filter(|claim| follows(claim) && !is_served(claim));
        let waiting: Vec<String> = claims.map(name_of).collect();
        waiting.iter().for_each(|name| self.bind_claim(name, None));
        !waiting.is_empty()
    }

    /// Removes the claims all of whose owners are gone, as the garbage collector would.
    pub(super) fn collect_claims(&mut self) -> Vec<String> {
        let mut alive: Vec<String> = self.pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        alive.extend(self.sets.values().filter_map(|set| set.metadata.uid.clone()));
        let is_gone = |claim: &PersistentVolumeClaim| {
            let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
            !owners.is_empty() && owners.iter().all(|owner| !alive.contains(&owner.uid))
        };
        let gone: Vec<String> = self.claims.values().filter(|claim| is_gone(claim)).map(name_of).collect();
        for name in &gone {
            self.remove_claim(name);
        }
        gone
    }
}

pub(super) fn name_of<K: Typed>(object: &K) -> String {
    object.metadata().name.clone().unwrap_or_default()
}
