//! What the controller knows: claims and volumes, indexed by each other and by class, and which pods use
//! which claims.
//!
//! An event touches the keys that it can change something for, found by index: a free volume wakes the
//! waiting claims that it satisfies, a pod the claims that it names. The view decides nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use client::{Change, Typed};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use model::meta;

use super::plan::Notice;
use super::{Key, matching};
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

/// The kinds that this view shows.
const KINDS: &[&str] = &[
    PersistentVolumeClaim::URL_PATH_SEGMENT,
    PersistentVolume::URL_PATH_SEGMENT,
    StorageClass::URL_PATH_SEGMENT,
    Pod::URL_PATH_SEGMENT,
    Node::URL_PATH_SEGMENT,
];

/// Everything that can happen to the view.
pub enum Event {
    /// A claim changed.
    Claims(Change<PersistentVolumeClaim>),
    /// A volume changed.
    Volumes(Change<PersistentVolume>),
    /// A class changed.
    Classes(Change<StorageClass>),
    /// A pod changed.
    Pods(Change<Pod>),
    /// A node changed.
    Nodes(Change<Node>),
}

/// Many values under one key.
#[derive(Debug)]
struct Index<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Index(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord> Index<K, V> {
    fn add(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().insert(value);
    }

    fn remove(&mut self, key: &K, value: &V) {
        if let Some(values) = self.0.get_mut(key) {
            values.remove(value);
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn get(&self, key: &K) -> impl Iterator<Item = &V> {
        self.0.get(key).into_iter().flatten()
    }
}

/// A pod as far as volumes are concerned.
#[derive(Debug, Clone)]
pub struct PodEntry {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The claims that it names, and whether by a generic ephemeral volume.
    pub claims: Vec<(ObjectKey, bool)>,
}

impl PodEntry {
    fn new(pod: Arc<Pod>) -> PodEntry {
        let claims = claims_named_by(&pod);
        PodEntry { pod, claims }
    }

    fn is_scheduled(&self) -> bool {
        model::pod::node_name(&self.pod).is_some()
    }

    fn has_ephemeral(&self) -> bool {
        self.claims.iter().any(|(_, is_ephemeral)| *is_ephemeral)
    }
}

/// The claims that a pod names, and whether by a generic ephemeral volume.
pub fn claims_named_by(pod: &Pod) -> Vec<(ObjectKey, bool)> {
    let (namespace, name) = (&pod.metadata.namespace, pod.metadata.name.as_deref().unwrap_or_default());
    let key = |name: String| ObjectKey::new(namespace.clone().unwrap_or_default(), name);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            if let Some(claim) = &volume.persistent_volume_claim {
                return Some((key(claim.claim_name.clone()), false));
            }
            volume.ephemeral.as_ref().map(|_| (key(format!("{name}-{}", volume.name)), true))
        })
        .collect()
}

/// True when a pod uses a claim, so that the claim must stay. A pod without a node does not: no node
/// starts a pod whose claim is to be deleted. A pod that has ended does, as upstream: its node may not have
/// let go of the volume yet. One that its node is done with does not, whatever still holds the object.
pub fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let key = ObjectKey::of(claim);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    model::pod::node_name(pod).is_some()
        && !is_done_with(pod)
        && claims_named_by(pod).iter().any(|(name, is_ephemeral)| {
            *name == key && (!is_ephemeral || meta::is_controlled_by(&claim.metadata, uid))
        })
}

/// True for a deleted pod whose node has taken everything down: it confirms the deletion after that, with no
/// grace left. Where the deletion waits for what the pod owns, its claims among that, the object stays.
/// One that was forced out gets there too, with its containers still running: its phase tells.
fn is_done_with(pod: &Pod) -> bool {
    meta::is_terminating(&pod.metadata)
        && pod.metadata.deletion_grace_period_seconds == Some(0)
        && model::pod::is_failed_or_succeeded(pod)
}

/// The picture in memory.
#[derive(Debug, Default)]
pub struct View {
    drivers: BTreeSet<String>,
    horizon: Horizon,
    claims: BTreeMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<ObjectKey, Arc<PersistentVolume>>,
    classes: BTreeMap<ObjectKey, Arc<StorageClass>>,
    pods: BTreeMap<ObjectKey, PodEntry>,
    nodes: BTreeMap<ObjectKey, Arc<Node>>,
    pods_by_claim: Index<ObjectKey, ObjectKey>,
    volumes_by_claim: Index<ObjectKey, String>,
    claims_by_volume: Index<String, ObjectKey>,
    /// Claims whose binding is not complete, by class.
    unbound: Index<String, ObjectKey>,
    /// Free volumes by class, smallest first.
    free: HashMap<String, BTreeSet<(i64, String)>>,
    /// Volumes that a claim has been promised by a plan under way, so that claims decided about at the
    /// same time do not all reach for the smallest one. At most one a claim.
    reserved: HashMap<String, ObjectKey>,
    reservations: HashMap<ObjectKey, String>,
    /// The last word about each key, not to be said again. At most one a living object.
    told: HashMap<Key, Vec<(&'static str, String)>>,
}

impl View {
    /// An empty view of a controller that has these drivers.
    pub fn new(drivers: impl IntoIterator<Item = &'static str>) -> View {
        View { drivers: drivers.into_iter().map(str::to_owned).collect(), ..View::default() }
    }
}

impl Picture for View {
    type Key = Key;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Claims(change) => self.change(change, |view| &view.claims, Self::claim_is, &mut touched),
            Event::Volumes(change) => {
                self.change(change, |view| &view.volumes, Self::volume_is, &mut touched);
            }
            Event::Classes(change) => self.change(change, |view| &view.classes, Self::class_is, &mut touched),
            Event::Pods(change) => self.change(change, |view| &view.pods, Self::pod_is, &mut touched),
            Event::Nodes(change) => self.change(change, |view| &view.nodes, Self::node_is, &mut touched),
        }
        touched
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    fn is_gone(&self, removed: &Removed) -> bool {
        let key = ObjectKey::new(removed.namespace.clone(), removed.name.clone());
        let known = match removed.resource {
            PersistentVolume::URL_PATH_SEGMENT => self.volumes.get(&key).map(|volume| &volume.metadata),
            _ => self.claims.get(&key).map(|claim| &claim.metadata),
        };
        known.is_none_or(|metadata| metadata.uid.as_ref() != Some(&removed.uid))
    }
}

impl View {
    /// One way for each kind: `set` puts an object in the place of what was there, or nothing.
    fn change<K: Typed, V>(
        &mut self,
        change: Change<K>,
        known: impl Fn(&View) -> &BTreeMap<ObjectKey, V>,
        set: impl Fn(&mut View, &ObjectKey, Option<Arc<K>>, &mut BTreeSet<Key>),
        touched: &mut BTreeSet<Key>,
    ) {
        self.horizon.observe(&change);
        match change {
            Change::Reset(objects, _) => {
                let mut gone: BTreeSet<ObjectKey> = known(self).keys().cloned().collect();
                for object in objects {
                    let key = ObjectKey::of(&*object);
                    gone.remove(&key);
                    set(self, &key, Some(object), touched);
                }
                for key in gone {
                    set(self, &key, None, touched);
                }
            }
            Change::Apply(object) => set(self, &ObjectKey::of(&*object), Some(object), touched),
            Change::Delete(object) => set(self, &ObjectKey::of(&*object), None, touched),
        }
    }

    fn claim_is(
        &mut self,
        key: &ObjectKey,
        claim: Option<Arc<PersistentVolumeClaim>>,
        touched: &mut BTreeSet<Key>,
    ) {
        if let Some(old) = self.claims.remove(key) {
            self.unbound.remove(&matching::claim_class(&old).to_owned(), key);
            if let Some(volume) = matching::volume_name(&old) {
                self.claims_by_volume.remove(&volume.to_owned(), key);
                touched.insert(Key::Volume(volume.to_owned()));
            }
        }
        if let Some(claim) = &claim {
            if !super::binding::is_complete(claim) {
                self.unbound.add(matching::claim_class(claim).to_owned(), key.clone());
            }
            if let Some(volume) = matching::volume_name(claim) {
                self.claims_by_volume.add(volume.to_owned(), key.clone());
                touched.insert(Key::Volume(volume.to_owned()));
            }
            self.claims.insert(key.clone(), Arc::clone(claim));
        } else {
            self.told.remove(&Key::Claim(key.clone()));
        }
        touched.insert(Key::Claim(key.clone()));
        touched.extend(self.volumes_by_claim.get(key).cloned().map(Key::Volume));
        // An ephemeral claim that is gone is made again, one that is new may not be the pod's.
        let pods = self.pods_by_claim.get(key).filter(|pod| self.pods[*pod].has_ephemeral());
        touched.extend(pods.cloned().map(Key::Pod));
    }

    fn volume_is(
        &mut self,
        key: &ObjectKey,
        volume: Option<Arc<PersistentVolume>>,
        touched: &mut BTreeSet<Key>,
    ) {
        let name = &key.name;
        if let Some(old) = self.volumes.remove(key) {
            if let Some((claim, _)) = matching::claim_of(&old) {
                self.volumes_by_claim.remove(&claim, name);
                touched.insert(Key::Claim(claim));
            }
            let class = matching::volume_class(&old);
            if let Some(free) = self.free.get_mut(class) {
                free.remove(&(matching::capacity_bytes(&old), name.clone()));
                if free.is_empty() {
                    self.free.remove(class);
                }
            }
        }
        touched.insert(Key::Volume(name.clone()));
        touched.extend(self.claims_by_volume.get(name).cloned().map(Key::Claim));
        let Some(volume) = volume else {
            self.told.remove(&Key::Volume(name.clone()));
            return;
        };
        if let Some((claim, _)) = matching::claim_of(&volume) {
            self.volumes_by_claim.add(claim.clone(), name.clone());
            touched.insert(Key::Claim(claim));
        }
        if matching::is_free(&volume) {
            let class = matching::volume_class(&volume).to_owned();
            let waiting = self.unbound.get(&class);
            let fitting = waiting.filter(|claim| matching::satisfies(&self.claims[*claim], &volume));
            touched.extend(fitting.cloned().map(Key::Claim));
            self.free.entry(class).or_default().insert((matching::capacity_bytes(&volume), name.clone()));
        }
        self.volumes.insert(key.clone(), volume);
    }

    fn class_is(&mut self, key: &ObjectKey, class: Option<Arc<StorageClass>>, touched: &mut BTreeSet<Key>) {
        match class {
            Some(class) => self.classes.insert(key.clone(), class),
            None => self.classes.remove(key),
        };
        touched.extend(self.unbound.get(&key.name).cloned().map(Key::Claim));
    }

    fn pod_is(&mut self, key: &ObjectKey, pod: Option<Arc<Pod>>, touched: &mut BTreeSet<Key>) {
        let old = self.pods.remove(key);
        let new = pod.map(PodEntry::new);
        let seen = |entry: &Option<PodEntry>| {
            entry
                .as_ref()
                .map(|entry| (entry.pod.metadata.uid.clone(), entry.is_scheduled(), is_done_with(&entry.pod)))
        };
        let differs = seen(&old) != seen(&new);
        for (claim, _) in old.iter().flat_map(|entry| &entry.claims) {
            self.pods_by_claim.remove(claim, key);
            if differs {
                touched.insert(Key::Claim(claim.clone()));
            }
        }
        let Some(entry) = new else {
            self.told.remove(&Key::Pod(key.clone()));
            return;
        };
        for (claim, _) in &entry.claims {
            self.pods_by_claim.add(claim.clone(), key.clone());
            if differs {
                touched.insert(Key::Claim(claim.clone()));
            }
        }
        if differs && entry.has_ephemeral() {
            touched.insert(Key::Pod(key.clone()));
        }
        self.pods.insert(key.clone(), entry);
    }

    /// A node matters when a claim is decided about for it, which its labels' change does not cause.
    fn node_is(&mut self, key: &ObjectKey, node: Option<Arc<Node>>, _touched: &mut BTreeSet<Key>) {
        match node {
            Some(node) => self.nodes.insert(key.clone(), node),
            None => self.nodes.remove(key),
        };
    }

    /// Keeps a volume for a claim; `None` gives back what was kept for it.
    pub fn reserve(&mut self, claim: &ObjectKey, volume: Option<String>) {
        if let Some(before) = self.reservations.remove(claim) {
            self.reserved.remove(&before);
        }
        if let Some(volume) = volume {
            self.reserved.insert(volume.clone(), claim.clone());
            self.reservations.insert(claim.clone(), volume);
        }
    }

    /// True when a plan under way gives this volume to another claim.
    pub fn is_reserved_for_another(&self, volume: &str, claim: &ObjectKey) -> bool {
        self.reserved.get(volume).is_some_and(|other| other != claim)
    }

    /// Keeps of a plan's notices those that were not the last word about this key already.
    pub fn keep_news(&mut self, key: &Key, notices: &mut Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let said: Vec<_> = notices.iter().map(|notice| (notice.reason, notice.message.clone())).collect();
        if self.told.get(key) == Some(&said) {
            notices.clear();
        } else {
            self.told.insert(key.clone(), said);
        }
    }

    /// True when one of this controller's drivers has this name.
    pub fn has_driver(&self, name: &str) -> bool {
        self.drivers.contains(name)
    }

    /// A claim.
    pub fn claim(&self, key: &ObjectKey) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    /// True when there is such a claim and its binding is not complete.
    pub fn is_unbound(&self, key: &ObjectKey) -> bool {
        self.claims.get(key).is_some_and(|claim| !super::binding::is_complete(claim))
    }

    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(&ObjectKey::new("", name))
    }

    /// The volumes whose reference names a claim.
    pub fn volumes_of(&self, claim: &ObjectKey) -> impl Iterator<Item = &PersistentVolume> {
        self.volumes_by_claim.get(claim).filter_map(|name| self.volume(name)).map(|volume| &**volume)
    }

    /// The free volumes of a class that hold at least so much, smallest first.
    pub fn free_volumes(&self, class: &str, bytes: i64) -> impl Iterator<Item = &PersistentVolume> {
        let free = self.free.get(class).into_iter();
        free.flat_map(move |free| free.range((bytes, String::new())..))
            .filter_map(|(_, name)| self.volume(name))
            .map(|volume| &**volume)
    }

    /// A class.
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(&ObjectKey::new("", name))
    }

    /// A pod.
    pub fn pod(&self, key: &ObjectKey) -> Option<&PodEntry> {
        self.pods.get(key)
    }

    /// The pods that name a claim.
    pub fn pods_of(&self, claim: &ObjectKey) -> impl Iterator<Item = &Pod> {
        self.pods_by_claim.get(claim).filter_map(|key| self.pods.get(key)).map(|entry| &*entry.pod)
    }

    /// A node's labels.
    pub fn node_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.nodes.get(&ObjectKey::new("", name))?.metadata.labels.as_ref()
    }
}
