//! What the scheduler knows: nodes with what is taken of them, pods that wait, claims and volumes.
//!
//! What a decision takes is reserved here at once, before the API has heard of it, so that the next decision
//! does not give it away again. Read next: [`pods`] (what their coming and going does), [`machines`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use model::{meta, volume};
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use self::kept::keep;
pub use self::machines::Machine;
use crate::filters::Cause;
use crate::neighbours::{Neighbours, Placed};
use crate::request::{HostPort, Request};
use crate::selection;
use crate::supply::Free;
use crate::terms::{Demands, Labels};

mod kept;
mod machines;
mod pods;

/// The kinds that this view shows.
const KINDS: &[&str] = &[
    Pod::URL_PATH_SEGMENT,
    Node::URL_PATH_SEGMENT,
    PersistentVolumeClaim::URL_PATH_SEGMENT,
    PersistentVolume::URL_PATH_SEGMENT,
    StorageClass::URL_PATH_SEGMENT,
    Namespace::URL_PATH_SEGMENT,
];

/// Everything that changes the picture.
pub enum Event {
    /// Pods.
    Pods(Change<Pod>),
    /// Nodes.
    Nodes(Change<Node>),
    /// Claims.
    Claims(Change<PersistentVolumeClaim>),
    /// Volumes.
    Volumes(Change<PersistentVolume>),
    /// Storage classes.
    Classes(Change<StorageClass>),
    /// Namespaces.
    Namespaces(Change<Namespace>),
}

/// What is taken of a node.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// Resources.
    pub amounts: BTreeMap<String, i64>,
    /// How many pods.
    pub pods: i64,
    /// Ports of the host.
    pub host_ports: Vec<HostPort>,
}

/// What one pod takes, and where.
struct Place {
    node: String,
    pod: Arc<Pod>,
    request: Request,
    claims: Vec<String>,
    /// What it holds against others.
    holds: Vec<u64>,
    /// The API has told of it; otherwise it is a decision's.
    is_told: bool,
}

/// A pod that wants a place.
struct Waiting {
    pod: Arc<Pod>,
    demands: Demands,
}

/// The picture.
#[derive(Default)]
pub struct View {
    machines: BTreeMap<String, Machine>,
    taken: HashMap<String, Taken>,
    places: BTreeMap<ObjectKey, Place>,
    pending: BTreeMap<ObjectKey, Waiting>,
    neighbours: Neighbours,
    /// Pods that fitted nowhere, or wait for their claims: tried again when anything changes that may help.
    unplaced: BTreeMap<ObjectKey, BTreeSet<Cause>>,
    claims: HashMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    /// Pods that use a claim and have a place.
    users: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    volumes: HashMap<String, Arc<PersistentVolume>>,
    free: Free,
    /// Volumes by the claim that they refer to.
    promised: HashMap<ObjectKey, BTreeSet<String>>,
    /// Volumes that a decision gives to a claim, until the API has told of the volume again.
    given: HashMap<String, ObjectKey>,
    classes: HashMap<String, Arc<StorageClass>>,
    horizon: Horizon,
}

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        match event {
            Event::Pods(change) => {
                self.horizon.observe(&change);
                return self.apply_pods(change);
            }
            Event::Nodes(change) => {
                self.horizon.observe(&change);
                return self.apply_nodes(change);
            }
            Event::Namespaces(change) => {
                self.horizon.observe(&change);
                return self.apply_namespaces(change);
            }
            Event::Claims(change) => {
                self.horizon.observe(&change);
                keep(&mut self.claims, change, |claim| ObjectKey::of(claim));
            }
            Event::Volumes(change) => {
                self.horizon.observe(&change);
                self.apply_volumes(change);
            }
            Event::Classes(change) => {
                self.horizon.observe(&change);
                keep(&mut self.classes, change, |class| name_of(&class.metadata));
            }
        }
        self.retried(&[Cause::Volumes])
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    /// A pod that was bound leaves those that wait.
    fn is_gone(&self, removed: &Removed) -> bool {
        let key = ObjectKey::new(removed.namespace.clone(), removed.name.clone());
        let uid = self.pending.get(&key).and_then(|waiting| waiting.pod.metadata.uid.as_deref());
        uid != Some(removed.uid.as_str())
    }
}

impl View {
    fn apply_volumes(&mut self, change: Change<PersistentVolume>) {
        match change {
            Change::Reset(volumes, _) => {
                self.volumes.clear();
                self.free = Free::default();
                self.promised.clear();
                self.given.clear();
                volumes.into_iter().for_each(|volume| self.put_volume(volume));
            }
            Change::Apply(volume) => {
                self.remove_volume(&name_of(&volume.metadata));
                self.put_volume(volume);
            }
            Change::Delete(volume) => self.remove_volume(&name_of(&volume.metadata)),
        }
    }

    fn put_volume(&mut self, volume: Arc<PersistentVolume>) {
        let name = name_of(&volume.metadata);
        self.free.put(&volume);
        if let Some(claim) = claim_key(&volume) {
            self.promised.entry(claim).or_default().insert(name.clone());
        }
        self.volumes.insert(name, volume);
    }

    fn remove_volume(&mut self, name: &str) {
        self.given.remove(name);
        let Some(volume) = self.volumes.remove(name) else { return };
        self.free.take_out(&volume);
        if let Some(claim) = claim_key(&volume)
            && let Some(volumes) = self.promised.get_mut(&claim)
        {
            volumes.remove(name);
            if volumes.is_empty() {
                self.promised.remove(&claim);
            }
        }
    }

    /// Pods that may have a place now that something has changed.
    fn retried(&self, helps: &[Cause]) -> BTreeSet<ObjectKey> {
        let helped = self.unplaced.iter().filter(|(_, causes)| helps.iter().any(|one| causes.contains(one)));
        helped.map(|(key, _)| key.clone()).collect()
    }

    /// A pod without a node, if it is still one, and what it demands of others.
    pub(crate) fn waiting(&self, key: &ObjectKey) -> Option<(&Arc<Pod>, &Demands)> {
        self.pending.get(key).map(|waiting| (&waiting.pod, &waiting.demands))
    }

    /// Every node, by name.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// Who is near whom.
    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// What is taken of a node.
    pub fn taken(&self, node: &str) -> &Taken {
        static NOTHING: Taken = Taken { amounts: BTreeMap::new(), pods: 0, host_ports: Vec::new() };
        self.taken.get(node).unwrap_or(&NOTHING)
    }

    /// A claim.
    pub fn claim(&self, key: &ObjectKey) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    /// Pods other than `except` that have a place and use a claim.
    pub fn other_users(&self, claim: &ObjectKey, except: &ObjectKey) -> usize {
        self.users.get(claim).map_or(0, |users| users.iter().filter(|user| *user != except).count())
    }

    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    /// The volume that refers to a claim already, so that it will be bound to it.
    pub(crate) fn promised(&self, key: &ObjectKey, claim: &PersistentVolumeClaim) -> Option<&str> {
        let mut names = self.promised.get(key).into_iter().flatten();
        let is_meant = |name: &&String| {
            let volume = self.volumes.get(*name);
            volume.is_some_and(|found| {
                let reference = volume::claim_reference(found);
                reference.is_some_and(|reference| volume::is_meant(reference, claim))
                    && !meta::is_terminating(&found.metadata)
                    && volume::capacity_bytes(found) >= volume::requested_bytes(claim)
                    && volume::has_same_mode(claim, found)
                    && volume::has_access_modes(claim, found)
            })
        };
        names.find(is_meant).map(String::as_str)
    }

    /// Volumes that a claim may choose among: free, fitting, and given to no other claim by a decision.
    pub(crate) fn free_volumes<'a>(
        &'a self,
        claim: &'a PersistentVolumeClaim,
        key: &'a ObjectKey,
    ) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        let is_given = move |volume: &PersistentVolume| {
            let other = self.given.get(volume.metadata.name.as_deref().unwrap_or_default());
            // A claim that is gone or has its volume needs none any more.
            other
                .filter(|other| *other != key)
                .and_then(|other| self.claims.get(other))
                .is_some_and(|other| volume::volume_name(other).is_none())
        };
        let fitting = self.free.for_claim(claim).filter(move |one| volume::satisfies(claim, one));
        fitting.filter(move |one| !is_given(one))
    }

    /// A node.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.machines.get(name).map(|machine| &*machine.node)
    }

    /// A storage class.
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }
}

/// The claim that a volume refers to.
fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume::claim_reference(volume)?;
    Some(ObjectKey::new(reference.namespace.clone()?, reference.name.clone()?))
}

fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

/// Every pod with a place, in one namespace or in all of them.
fn placed<'a>(
    places: &'a BTreeMap<ObjectKey, Place>,
    machines: &'a BTreeMap<String, Machine>,
    namespace: Option<&str>,
) -> impl Iterator<Item = Placed<'a>> + use<'a> {
    let only = namespace.map(str::to_owned);
    let from = ObjectKey::new(namespace.unwrap_or_default(), "");
    let range = places.range(from..);
    let inside = range.take_while(move |(key, _)| only.as_ref().is_none_or(|only| key.namespace == *only));
    inside.map(|(_, place)| Placed {
        pod: &place.pod,
        node: &place.node,
        labels: labels_of(machines, &place.node),
    })
}

fn labels_of<'a>(machines: &'a BTreeMap<String, Machine>, node: &str) -> Option<&'a Labels> {
    machines.get(node).map(|machine| selection::labels(&machine.node))
}
