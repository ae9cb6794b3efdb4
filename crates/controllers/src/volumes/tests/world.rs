//! A small world: claims, volumes, a driver's volumes, and plans carried out step by step until a crash.
//!
//! It does what the API and the executor do with a step, in memory: versions are compared, finalizers hold
//! objects back. After each step it checks that no volume has two claims.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{Change, Typed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::encoded::Revision;
use serde_json::{Value, json};
use storage::driver::{Volume, VolumeId};

use crate::volumes::plan::{self, Plan, Step};
use crate::volumes::view::{self, Event, View};
use crate::volumes::{Key, matching, provision};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

/// The driver of this world.
pub(super) const DRIVER: &str = "driver.test";

/// Plans that a world takes to settle, at most; each test needs a handful.
const ROUNDS_MAX: usize = 50;

pub(super) fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("is a time")
}

pub(super) fn object<K: Typed>(value: Value) -> K {
    serde_json::from_value(value).expect("is such an object")
}

/// A claim of a class and size, in the namespace `default`, with its protection.
pub(super) fn claim(name: &str, class: &str, size: &str) -> PersistentVolumeClaim {
    object(json!({
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "finalizers": ["kubernetes.io/pvc-protection"] },
        "spec": { "storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": size } } },
        "status": { "phase": "Pending" },
    }))
}

/// A volume of a class and size, with its protection.
pub(super) fn volume(name: &str, class: &str, size: &str) -> PersistentVolume {
    object(json!({
        "metadata": { "name": name, "uid": format!("uid-{name}"),
            "finalizers": ["kubernetes.io/pv-protection"] },
        "spec": { "storageClassName": class, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "capacity": { "storage": size }, "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": { "path": "/nowhere" } },
        "status": { "phase": "Available" },
    }))
}

/// The same object with some of it changed.
pub(super) fn with<K: Typed>(original: &K, change: Value) -> K {
    let mut value = serde_json::to_value(original).expect("can be encoded");
    model::patch::merge(&mut value, &change);
    object(value)
}

/// A crash: nothing more is written.
#[derive(Debug)]
pub(super) struct Crash;

#[derive(Default)]
pub(super) struct World {
    pub(super) view: View,
    pub(super) claims: BTreeMap<ObjectKey, PersistentVolumeClaim>,
    pub(super) volumes: BTreeMap<ObjectKey, PersistentVolume>,
    classes: Vec<Arc<StorageClass>>,
    pods: BTreeMap<ObjectKey, Pod>,
    /// What the driver has.
    pub(super) made: BTreeSet<String>,
    /// All that was done, as plans print it.
    pub(super) log: Vec<String>,
    /// Reasons of all events.
    pub(super) said: Vec<String>,
    revision: u64,
    /// Writes left before the crash.
    budget: Option<usize>,
    versions: BTreeMap<String, String>,
}

impl World {
    pub(super) fn new() -> World {
        let class = |name: &str, mode: &str, provisioner: &str| {
            Arc::new(object::<StorageClass>(json!({
                "metadata": { "name": name }, "provisioner": provisioner, "volumeBindingMode": mode,
                "reclaimPolicy": "Delete",
            })))
        };
        let classes = vec![
            class("now", "Immediate", DRIVER),
            class("later", "WaitForFirstConsumer", DRIVER),
            class("foreign", "Immediate", "other.test"),
            class("manual", "WaitForFirstConsumer", "kubernetes.io/no-provisioner"),
        ];
        let mut world = World { classes, ..World::default() };
        world.restart();
        world
    }

    /// Begins with what the API has and nothing else.
    pub(super) fn restart(&mut self) {
        self.view = View::new([DRIVER]);
        self.budget = None;
        let at = Revision(self.revision);
        let claims = self.claims.values().cloned().map(Arc::new).collect();
        self.view.apply(Event::Claims(Change::Reset(claims, at)));
        let volumes = self.volumes.values().cloned().map(Arc::new).collect();
        self.view.apply(Event::Volumes(Change::Reset(volumes, at)));
        self.view.apply(Event::Classes(Change::Reset(self.classes.clone(), at)));
        let pods = self.pods.values().cloned().map(Arc::new).collect();
        self.view.apply(Event::Pods(Change::Reset(pods, at)));
        self.view.apply(Event::Nodes(Change::Reset(Vec::new(), at)));
    }

    pub(super) fn crash_after(&mut self, writes: usize) {
        self.budget = Some(writes);
    }

    fn next_version(&mut self) -> Option<String> {
        self.revision += 1;
        Some(self.revision.to_string())
    }

    pub(super) fn add_claim(&mut self, mut claim: PersistentVolumeClaim) {
        claim.metadata.resource_version = self.next_version();
        self.claims.insert(ObjectKey::of(&claim), claim.clone());
        self.view.apply(Event::Claims(Change::Apply(Arc::new(claim))));
    }

    pub(super) fn add_volume(&mut self, mut volume: PersistentVolume) {
        volume.metadata.resource_version = self.next_version();
        self.volumes.insert(ObjectKey::of(&volume), volume.clone());
        self.view.apply(Event::Volumes(Change::Apply(Arc::new(volume))));
    }

    pub(super) fn add_pod(&mut self, pod: Value) {
        let pod: Pod = object(pod);
        self.pods.insert(ObjectKey::of(&pod), pod.clone());
        self.view.apply(Event::Pods(Change::Apply(Arc::new(pod))));
    }

    pub(super) fn remove_pod(&mut self, name: &str) {
        let pod = self.pods.remove(&ObjectKey::new("default", name)).expect("it is there");
        self.view.apply(Event::Pods(Change::Delete(Arc::new(pod))));
    }

    /// Asks for a claim's deletion, as the API does it.
    pub(super) fn delete_claim(&mut self, name: &str) {
        let mut claim = self.claim(name).clone();
        claim.metadata.deletion_timestamp = Some(Time(now()));
        self.add_claim(claim);
    }

    /// Asks for a volume's deletion, as the API does it.
    pub(super) fn delete_volume(&mut self, name: &str) {
        let mut volume = self.volume(name).clone();
        volume.metadata.deletion_timestamp = Some(Time(now()));
        self.add_volume(volume);
    }

    /// Takes a claim away, whatever held it.
    pub(super) fn lose_claim(&mut self, name: &str) {
        let claim = self.claims.remove(&ObjectKey::new("default", name)).expect("it is there");
        self.view.apply(Event::Claims(Change::Delete(Arc::new(claim))));
    }

    /// Takes a volume's object away, whatever held it.
    pub(super) fn lose_volume(&mut self, name: &str) {
        let volume = self.volumes.remove(&ObjectKey::new("", name)).expect("it is there");
        self.view.apply(Event::Volumes(Change::Delete(Arc::new(volume))));
    }

    pub(super) fn claim(&self, name: &str) -> &PersistentVolumeClaim {
        &self.claims[&ObjectKey::new("default", name)]
    }

    pub(super) fn volume(&self, name: &str) -> &PersistentVolume {
        &self.volumes[&ObjectKey::new("", name)]
    }

    pub(super) fn has_claim(&self, name: &str) -> bool {
        self.claims.contains_key(&ObjectKey::new("default", name))
    }

    pub(super) fn claim_phase(&self, name: &str) -> &str {
        self.claim(name).status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }

    pub(super) fn bound_to(&self, claim: &str) -> Option<&str> {
        matching::volume_name(self.claim(claim))
    }

    pub(super) fn plan(&self, key: &Key) -> Plan {
        plan::plan(&self.view, key, now())
    }

    /// Decides about everything and carries it out until there is nothing left to do.
    pub(super) fn settle(&mut self) -> Result<(), Crash> {
        for _ in 0..ROUNDS_MAX {
            let claims = self.claims.keys().cloned().map(Key::Claim);
            let volumes = self.volumes.keys().map(|key| Key::Volume(key.name.clone()));
            let pods = self.pods.keys().cloned().map(Key::Pod);
            let keys: Vec<Key> = claims.chain(volumes).chain(pods).collect();
            let mut quiet = true;
            for key in keys {
                let mut plan = self.plan(&key);
                self.view.keep_news(&key, &mut plan.notices);
                self.said.extend(plan.notices.iter().map(|notice| notice.reason.to_owned()));
                quiet &= plan.is_quiet();
                self.carry_out(plan)?;
            }
            if quiet {
                return Ok(());
            }
        }
        panic!("it does not settle: {:#?}", self.log);
    }

    /// Carries a plan out; a step that is refused ends it, as in the executor.
    pub(super) fn carry_out(&mut self, plan: Plan) -> Result<(), Crash> {
        self.versions.clear();
        for step in plan.steps {
            self.log.push(step.to_string());
            let is_done = self.step(step)?;
            self.check();
            if !is_done {
                break;
            }
        }
        Ok(())
    }

    fn spend(&mut self) -> Result<(), Crash> {
        match &mut self.budget {
            Some(0) => Err(Crash),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// True when an object is written at the stored version, or at the one that this plan wrote.
    fn is_current<K: Typed>(&self, written: &K, stored: Option<&K>) -> bool {
        let Some(stored) = stored else { return false };
        let id = format!("{}/{}", K::URL_PATH_SEGMENT, ObjectKey::of(written));
        let version = self.versions.get(&id).or(written.metadata().resource_version.as_ref());
        version == stored.metadata().resource_version.as_ref()
    }

    fn note<K: Typed>(&mut self, key: &ObjectKey) {
        let id = format!("{}/{key}", K::URL_PATH_SEGMENT);
        self.versions.insert(id, self.revision.to_string());
    }

    fn step(&mut self, step: Step) -> Result<bool, Crash> {
        match step {
            Step::Tell(notice) => self.said.push(notice.reason.to_owned()),
            Step::ConfirmClaimGone(id) => {
                let live = self.claims.get(&id.key);
                return Ok(live.is_none_or(|live| live.metadata.uid.as_ref() != Some(&id.uid)));
            }
            Step::ConfirmVolumeGone { name } => {
                return Ok(!self.volumes.contains_key(&ObjectKey::new("", name)));
            }
            Step::Volume(volume) | Step::VolumeStatus(volume) => {
                self.spend()?;
                let key = ObjectKey::of(&*volume);
                if !self.is_current(&*volume, self.volumes.get(&key)) {
                    return Ok(false);
                }
                self.write_volume(*volume);
            }
            Step::Claim(claim) => {
                self.spend()?;
                let key = ObjectKey::of(&*claim);
                let stored = self.claims.get(&key);
                if !self.is_current(&*claim, stored) {
                    return Ok(false);
                }
                let status = stored.and_then(|stored| stored.status.clone());
                self.write_claim(PersistentVolumeClaim { status, ..*claim });
            }
            Step::ClaimStatus(claim) => {
                self.spend()?;
                let Some(stored) = self.claims.get(&ObjectKey::of(&*claim)) else { return Ok(false) };
                if !self.is_current(&*claim, Some(stored)) {
                    return Ok(false);
                }
                let written = PersistentVolumeClaim { status: claim.status.clone(), ..stored.clone() };
                self.write_claim(written);
            }
            Step::CreateClaim(claim) => {
                self.spend()?;
                let uid = Some(format!("uid-{}", ObjectKey::of(&*claim).name));
                let mut claim = *claim;
                claim.metadata.uid = uid;
                self.add_claim(claim);
            }
            Step::Provision(provision) => {
                self.spend()?;
                self.made.insert(provision.request.name.clone());
                let made = Volume {
                    id: VolumeId(provision.request.name.clone()),
                    capacity_bytes: provision.request.capacity_bytes,
                    context: BTreeMap::new(),
                    node: provision.request.node.clone(),
                };
                self.spend()?;
                let mut volume = provision::complete(provision.volume, &provision.driver, &made);
                volume.metadata.uid = Some(format!("uid-{}", made.id.0));
                assert!(!self.volumes.contains_key(&ObjectKey::of(&volume)), "made twice");
                self.add_volume(volume);
            }
            Step::Remove { id, volume, .. } => {
                self.spend()?;
                let (claim, reference) = matching::claim_of(&volume).expect("it had a claim");
                let live = self.claims.get(&claim).and_then(|claim| claim.metadata.uid.clone());
                assert_ne!(live, reference.uid, "a volume is removed while its claim lives");
                self.made.remove(&id.0);
            }
            Step::DeleteVolume { name, .. } => {
                self.spend()?;
                self.delete_volume(&name);
            }
            Step::ReleaseVolume { name, .. } => {
                self.spend()?;
                self.lose_volume(&name);
            }
            Step::ReleaseClaim(id) => {
                let claim = &self.claims[&id.key];
                if self.pods.values().any(|pod| view::uses(pod, claim)) {
                    return Ok(false);
                }
                self.spend()?;
                self.lose_claim(&id.key.name);
            }
        }
        Ok(true)
    }

    fn write_volume(&mut self, volume: PersistentVolume) {
        let key = ObjectKey::of(&volume);
        self.add_volume(volume);
        self.note::<PersistentVolume>(&key);
    }

    fn write_claim(&mut self, claim: PersistentVolumeClaim) {
        let key = ObjectKey::of(&claim);
        self.add_claim(claim);
        self.note::<PersistentVolumeClaim>(&key);
    }

    /// What must hold after every write.
    fn check(&self) {
        let mut taken = BTreeSet::new();
        for claim in self.claims.values() {
            let Some(name) = matching::volume_name(claim) else { continue };
            let Some(volume) = self.volumes.get(&ObjectKey::new("", name)) else { continue };
            let is_theirs =
                matching::claim_of(volume).is_some_and(|(_, reference)| reference.uid == claim.metadata.uid);
            if is_theirs {
                assert!(taken.insert(name), "volume {name} has two claims");
            }
        }
    }
}
