//! What the scheduler knows: nodes with what is taken of them, pods that wait, claims and volumes.
//!
//! What a decision takes is reserved here at once, before the API has heard of it, so that the next decision
//! does not give it away again. Read next: [`pods`] (what their coming and going does), [`machines`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use model::selector::Selector;
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
use crate::terms::{self, Demands, Labels};

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
    PodDisruptionBudget::URL_PATH_SEGMENT,
];

/// Stands for a binding in a barrier: it removes a pod from those that wait.
pub(crate) const BINDING: &str = "pods/binding";

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
    /// Disruption budgets.
    Budgets(Change<PodDisruptionBudget>),
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

impl Taken {
    /// One more pod.
    pub fn add(&mut self, request: &Request) {
        for (name, amount) in &request.amounts {
            *self.amounts.entry(name.clone()).or_default() += amount;
        }
        self.pods += 1;
        self.host_ports.extend(request.host_ports.iter().cloned());
    }

    /// One pod less.
    pub fn take_off(&mut self, request: &Request) {
        for (name, amount) in &request.amounts {
            *self.amounts.entry(name.clone()).or_default() -= amount;
        }
        self.pods -= 1;
        for port in &request.host_ports {
            if let Some(index) = self.host_ports.iter().position(|taken| taken == port) {
                self.host_ports.swap_remove(index);
            }
        }
    }
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
    /// The node that an earlier decision promised it, until the next one.
    promised: Option<String>,
}

impl Waiting {
    /// The node that it was promised room on.
    fn nominated(&self) -> Option<&str> {
        let status = self.pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        self.promised.as_deref().or(status).filter(|node| !node.is_empty())
    }
}

/// A pod that has a place on a node.
#[derive(Clone, Copy)]
pub(crate) struct Tenant<'a> {
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// What it takes.
    pub request: &'a Request,
}

/// The picture.
#[derive(Default)]
pub struct View {
    machines: BTreeMap<String, Machine>,
    taken: HashMap<String, Taken>,
    places: BTreeMap<ObjectKey, Place>,
    /// The pods with a place, by node.
    tenants: HashMap<String, BTreeSet<ObjectKey>>,
    /// Waiting pods that were promised room, by node.
    nominated: HashMap<String, BTreeSet<ObjectKey>>,
    budgets: BTreeMap<ObjectKey, Arc<PodDisruptionBudget>>,
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
            Event::Budgets(change) => {
                self.horizon.observe(&change);
                keep(&mut self.budgets, change, |budget| ObjectKey::of(budget));
                // What may be broken makes no room.
                return BTreeSet::new();
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

    /// Important pods first.
    fn rank(&self, key: &ObjectKey) -> i64 {
        self.pending.get(key).map_or(0, |waiting| priority(&waiting.pod))
    }

    /// A pod that was bound leaves those that wait; one that was removed is at least on its way.
    fn is_gone(&self, removed: &Removed) -> bool {
        let key = ObjectKey::new(removed.namespace.clone(), removed.name.clone());
        let is_it = |pod: &Pod| pod.metadata.uid.as_deref() == Some(removed.uid.as_str());
        let waits = self.pending.get(&key).is_some_and(|waiting| is_it(&waiting.pod));
        let lives = || {
            let place = self.places.get(&key).filter(|place| is_it(&place.pod));
            place.is_some_and(|place| !meta::is_terminating(&place.pod.metadata))
        };
        !waits && (removed.resource == BINDING || !lives())
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

    /// The node that a waiting pod was promised room on.
    pub(crate) fn nomination(&self, key: &ObjectKey) -> Option<&str> {
        self.pending.get(key)?.nominated()
    }

    /// Waiting pods other than `except` that were promised room on a node and are at least as important.
    pub(crate) fn guests(&self, node: &str, least: i64, except: &ObjectKey) -> Vec<&Pod> {
        let keys = self.nominated.get(node).into_iter().flatten().filter(|key| *key != except);
        let pods = keys.filter_map(|key| self.pending.get(key)).map(|waiting| &*waiting.pod);
        pods.filter(|pod| priority(pod) >= least).collect()
    }

    /// Waiting pods that were promised room on a node and are less important.
    pub(crate) fn lesser_guests(&self, node: &str, than: i64) -> Vec<Arc<Pod>> {
        let keys = self.nominated.get(node).into_iter().flatten();
        let pods = keys.filter_map(|key| self.pending.get(key)).map(|waiting| &waiting.pod);
        pods.filter(|pod| priority(pod) < than).cloned().collect()
    }

    /// The pods that have a place on a node.
    pub(crate) fn tenants(&self, node: &str) -> impl Iterator<Item = Tenant<'_>> {
        let keys = self.tenants.get(node).into_iter().flatten();
        let places = keys.filter_map(|key| self.places.get(key));
        places.map(|place| Tenant { pod: &place.pod, request: &place.request })
    }

    /// The disruption budgets that are about a pod.
    pub(crate) fn budgets(&self, pod: &Pod) -> impl Iterator<Item = (&ObjectKey, &PodDisruptionBudget)> {
        let labels = terms::labels(pod).clone();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let all = self.budgets.range(ObjectKey::new(namespace.clone(), "")..);
        let own = all.take_while(move |(key, _)| key.namespace == namespace);
        let about = own.filter(move |(_, budget)| {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let selector = selector.and_then(|selector| Selector::from_label_selector(selector).ok());
            // An empty one would be about pods that nobody meant.
            selector.is_some_and(|selector| !selector.is_everything() && selector.matches(&labels))
        });
        about.map(|(key, budget)| (key, &**budget))
    }

    /// A node with what it has.
    pub(crate) fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.get(name)
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

/// How important a pod is.
pub(crate) fn priority(pod: &Pod) -> i64 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default().into()
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
