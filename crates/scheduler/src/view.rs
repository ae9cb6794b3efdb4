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
use model::pod;
use reconcile::barrier::Horizon;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use crate::NAME;
use crate::plan::Plan;
use crate::request::{HostPort, Request};

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
                keep(&mut self.volumes, change, |volume| name_of(&volume.metadata));
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
