//! What the scheduler knows: nodes with what is taken of them, pods that wait, claims and volumes.
//!
//! What a decision takes is reserved here at once, before the API has heard of it, so that the next decision
//! does not give it away again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use model::{meta, pod, volume};
use reconcile::barrier::Horizon;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use crate::NAME;
use crate::plan::Plan;
use crate::request::{HostPort, Request};
use crate::supply::Free;

/// The kinds that this view shows.
const KINDS: &[&str] = &[
    Pod::URL_PATH_SEGMENT,
    Node::URL_PATH_SEGMENT,
    PersistentVolumeClaim::URL_PATH_SEGMENT,
    PersistentVolume::URL_PATH_SEGMENT,
    StorageClass::URL_PATH_SEGMENT,
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
    request: Request,
    claims: Vec<String>,
}

/// The picture.
#[derive(Default)]
pub struct View {
    nodes: BTreeMap<String, Arc<Node>>,
    taken: HashMap<String, Taken>,
    places: HashMap<ObjectKey, Place>,
    pending: BTreeMap<ObjectKey, Arc<Pod>>,
    /// Pods that fitted nowhere, or wait for their claims: tried again when anything changes that may help.
    unplaced: BTreeSet<ObjectKey>,
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
                keep(&mut self.nodes, change, |node| name_of(&node.metadata));
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
        self.unplaced.clone()
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }
}

impl View {
    fn apply_pods(&mut self, change: Change<Pod>) -> BTreeSet<ObjectKey> {
        match change {
            Change::Reset(pods, _) => {
                self.pending.clear();
                self.places.clear();
                self.taken.clear();
                self.users.clear();
                self.unplaced.clear();
                for pod in pods {
                    self.apply_pod(pod);
                }
                self.pending.keys().cloned().collect()
            }
            Change::Apply(pod) => {
                let key = ObjectKey::of(&*pod);
                let freed = self.apply_pod(pod);
                let mut touched = if freed { self.unplaced.clone() } else { BTreeSet::new() };
                if self.pending.contains_key(&key) {
                    touched.insert(key);
                }
                touched
            }
            Change::Delete(pod) => {
                let key = ObjectKey::of(&*pod);
                self.pending.remove(&key);
                self.unplaced.remove(&key);
                if self.leave(&key) { self.unplaced.clone() } else { BTreeSet::new() }
            }
        }
    }

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

    /// True when the pod gave something free.
    fn apply_pod(&mut self, pod: Arc<Pod>) -> bool {
        let key = ObjectKey::of(&*pod);
        if pod::is_failed_or_succeeded(&pod) {
            self.pending.remove(&key);
            self.unplaced.remove(&key);
            return self.leave(&key);
        }
        if let Some(node) = pod::node_name(&pod) {
            let node = node.to_owned();
            self.pending.remove(&key);
            self.unplaced.remove(&key);
            self.take(key, &node, &pod);
        } else if is_ours(&pod) {
            self.pending.insert(key, pod);
        } else {
            self.pending.remove(&key);
            self.unplaced.remove(&key);
        }
        false
    }

    /// Remembers what was decided: a reservation, or that the pod is to be tried again.
    pub fn note(&mut self, key: &ObjectKey, plan: &Plan) {
        let pod = self.pending.get(key).cloned();
        match (plan, pod) {
            (Plan::Bind { node, .. }, Some(pod)) => {
                self.unplaced.remove(key);
                let node = node.clone();
                self.take(key.clone(), &node, &pod);
            }
            (Plan::Claims { .. } | Plan::Unschedulable { .. } | Plan::Wait { .. }, _) => {
                if let Plan::Claims { volumes, .. } = plan {
                    let namespace = &key.namespace;
                    let given = volumes.iter().map(|(claim, volume)| {
                        (volume.clone(), ObjectKey::new(namespace.clone(), claim.clone()))
                    });
                    self.given.extend(given);
                }
                self.leave(key);
                self.unplaced.insert(key.clone());
            }
            (Plan::Bind { .. }, None) => {}
        }
    }

    fn take(&mut self, key: ObjectKey, node: &str, pod: &Pod) {
        if self.places.get(&key).is_some_and(|place| place.node == node) {
            return;
        }
        self.leave(&key);
        let request = Request::of(pod);
        let taken = self.taken.entry(node.to_owned()).or_default();
        for (name, amount) in &request.amounts {
            *taken.amounts.entry(name.clone()).or_default() += amount;
        }
        taken.pods += 1;
        taken.host_ports.extend(request.host_ports.iter().cloned());
        let claims = crate::volumes::claim_names(pod);
        for claim in &claims {
            let claim = ObjectKey::new(key.namespace.clone(), claim.clone());
            self.users.entry(claim).or_default().insert(key.clone());
        }
        self.places.insert(key, Place { node: node.to_owned(), request, claims });
    }

    fn leave(&mut self, key: &ObjectKey) -> bool {
        let Some(place) = self.places.remove(key) else { return false };
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
            for (name, amount) in &place.request.amounts {
                *taken.amounts.entry(name.clone()).or_default() -= amount;
            }
            taken.pods -= 1;
            for port in &place.request.host_ports {
                if let Some(index) = taken.host_ports.iter().position(|taken| taken == port) {
                    taken.host_ports.swap_remove(index);
                }
            }
        }
        true
    }

    /// A pod without a node, if it is still one.
    pub fn pending(&self, key: &ObjectKey) -> Option<&Arc<Pod>> {
        self.pending.get(key)
    }

    /// Every node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&String, &Arc<Node>)> {
        self.nodes.iter()
    }

    /// What is taken of a node by pods other than `except`.
    pub fn taken(&self, node: &str, except: &ObjectKey) -> Taken {
        let mut taken = self.taken.get(node).cloned().unwrap_or_default();
        if let Some(place) = self.places.get(except).filter(|place| place.node == node) {
            for (name, amount) in &place.request.amounts {
                *taken.amounts.entry(name.clone()).or_default() -= amount;
            }
            taken.pods -= 1;
            taken.host_ports.retain(|port| !place.request.host_ports.contains(port));
        }
        taken
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
        self.nodes.get(name).map(|node| &**node)
    }

    /// A storage class.
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }
}

fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let name = spec.scheduler_name.as_deref().unwrap_or(NAME);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    name == NAME && !gated && pod.metadata.deletion_timestamp.is_none()
}

/// The claim that a volume refers to.
fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume::claim_reference(volume)?;
    Some(ObjectKey::new(reference.namespace.clone()?, reference.name.clone()?))
}

fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

/// A map that a kind is kept in.
trait Kept<Key, Kind> {
    fn forget_all(&mut self);
    fn put(&mut self, key: Key, object: Arc<Kind>);
    fn take_out(&mut self, key: &Key);
}

impl<Key: std::hash::Hash + Eq, Kind> Kept<Key, Kind> for HashMap<Key, Arc<Kind>> {
    fn forget_all(&mut self) {
        self.clear();
    }
    fn put(&mut self, key: Key, object: Arc<Kind>) {
        self.insert(key, object);
    }
    fn take_out(&mut self, key: &Key) {
        self.remove(key);
    }
}

impl<Key: Ord, Kind> Kept<Key, Kind> for BTreeMap<Key, Arc<Kind>> {
    fn forget_all(&mut self) {
        self.clear();
    }
    fn put(&mut self, key: Key, object: Arc<Kind>) {
        self.insert(key, object);
    }
    fn take_out(&mut self, key: &Key) {
        self.remove(key);
    }
}

fn keep<Key, Kind>(map: &mut impl Kept<Key, Kind>, change: Change<Kind>, key: impl Fn(&Kind) -> Key) {
    match change {
        Change::Reset(objects, _) => {
            map.forget_all();
            for object in objects {
                map.put(key(&object), object);
            }
        }
        Change::Apply(object) => map.put(key(&object), object),
        Change::Delete(object) => map.take_out(&key(&object)),
    }
}
