//! What the controller knows: sets, the pods that each owns, and the pods that nobody owns.
//!
//! A pod is found by its owner's uid, a set's siblings by the uid of the deployment that they share: a
//! decision about one set never looks at the pods of another, but for its siblings' when it chooses whom to
//! delete. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::meta;
use model::selector::Selector;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use crate::owned_index::{OwnedIndex, Pods};

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To sets.
    Sets(Change<ReplicaSet>),
    /// To pods.
    Pods(Change<Pod>),
}

/// A set and its selector, or what is wrong with it.
#[derive(Debug)]
struct SetEntry {
    set: Arc<ReplicaSet>,
    selector: Result<Selector, String>,
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug)]
pub struct View {
    sets: HashMap<String, BTreeMap<String, SetEntry>>,
    /// Sets by the uid of what manages them.
    siblings: HashMap<String, BTreeSet<ObjectKey>>,
    pods: OwnedIndex<Pod>,
    horizon: Horizon,
}

impl Default for View {
    fn default() -> View {
        let pods = OwnedIndex::new(ReplicaSet::KIND, |_| true);
        View { sets: HashMap::new(), siblings: HashMap::new(), pods, horizon: Horizon::default() }
    }
}

/// One set with everything a decision about it needs.
#[derive(Clone, Copy)]
pub struct SetView<'a> {
    /// The set.
    pub set: &'a Arc<ReplicaSet>,
    /// Its selector, or what is wrong with it.
    pub selector: &'a Result<Selector, String>,
    /// The pods it manages.
    pub pods: &'a Pods,
    /// The pods of its namespace that nobody manages.
    pub orphans: &'a Pods,
    view: &'a View,
}

impl<'a> SetView<'a> {
    /// The pods of all sets that one deployment manages, this one's among them.
    pub fn related(&self) -> Vec<&'a Arc<Pod>> {
        let owner = meta::controller_of(&self.set.metadata);
        let Some(siblings) = owner.and_then(|owner| self.view.siblings.get(&owner.uid)) else {
            return self.pods.values().collect();
        };
        let own = self.set.metadata.namespace.as_deref().unwrap_or_default();
        let siblings = siblings.iter().filter(|key| key.namespace == own);
        let entries = siblings.filter_map(|key| self.view.entry(key));
        entries.flat_map(|entry| self.view.pods_of(&entry.set).values()).collect()
    }
}

fn labels(metadata: &ObjectMeta) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    metadata.labels.as_ref().unwrap_or(&NONE)
}

impl View {
    /// What there is to know about one set; `None` when it is gone.
    pub fn set(&self, key: &ObjectKey) -> Option<SetView<'_>> {
        let entry = self.entry(key)?;
        Some(SetView {
            set: &entry.set,
            selector: &entry.selector,
            pods: self.pods_of(&entry.set),
            orphans: self.pods.orphans(&key.namespace),
            view: self,
        })
    }

    fn entry(&self, key: &ObjectKey) -> Option<&SetEntry> {
        self.sets.get(&key.namespace)?.get(&key.name)
    }

    fn pods_of(&self, set: &ReplicaSet) -> &Pods {
        self.pods.of(&set.metadata)
    }

    fn insert_set(&mut self, set: Arc<ReplicaSet>, touched: &mut BTreeSet<ObjectKey>) {
        let key = ObjectKey::of(&*set);
        self.remove_set(&key);
        if let Some(owner) = meta::controller_of(&set.metadata) {
            self.siblings.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        touched.insert(key.clone());
        let selector = Selector::from_label_selector(&set.spec.selector);
        self.sets.entry(key.namespace).or_default().insert(key.name, SetEntry { set, selector });
    }

    fn remove_set(&mut self, key: &ObjectKey) {
        let Some(of_namespace) = self.sets.get_mut(&key.namespace) else { return };
        let known = of_namespace.remove(&key.name);
        if of_namespace.is_empty() {
            self.sets.remove(&key.namespace);
        }
        let Some(known) = known else { return };
        let Some(owner) = meta::controller_of(&known.set.metadata) else { return };
        if let Some(siblings) = self.siblings.get_mut(&owner.uid) {
            siblings.remove(key);
            if siblings.is_empty() {
                self.siblings.remove(&owner.uid);
            }
        }
    }

    fn insert_pod(&mut self, pod: Arc<Pod>, touched: &mut BTreeSet<ObjectKey>) {
        self.touch(&pod.metadata, touched);
        self.pods.insert(pod);
    }

    /// Takes a pod out of the view, as it was last known.
    fn remove_pod(&mut self, key: &ObjectKey, touched: &mut BTreeSet<ObjectKey>) {
        if let Some(known) = self.pods.remove(key) {
            self.touch(&known.metadata, touched);
        }
    }

    /// A pod touches the set that manages it; one that nobody manages touches those that select it.
    fn touch(&self, metadata: &ObjectMeta, touched: &mut BTreeSet<ObjectKey>) {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let Some(sets) = self.sets.get(namespace) else { return };
        match meta::controller_of(metadata) {
            Some(owner) if owner.kind == ReplicaSet::KIND => {
                if sets
                    .get(&owner.name)
                    .is_some_and(|known| known.set.metadata.uid.as_ref() == Some(&owner.uid))
                {
                    touched.insert(ObjectKey::new(namespace, &owner.name));
                }
            }
            Some(_) => {}
            None => {
                for (name, entry) in sets {
                    if entry.selector.as_ref().is_ok_and(|selector| selector.matches(labels(metadata))) {
                        touched.insert(ObjectKey::new(namespace, name));
                    }
                }
            }
        }
    }

    fn touch_all(&self, touched: &mut BTreeSet<ObjectKey>) {
        for (namespace, sets) in &self.sets {
            touched.extend(sets.keys().map(|name| ObjectKey::new(namespace, name)));
        }
    }
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[ReplicaSet::URL_PATH_SEGMENT, Pod::URL_PATH_SEGMENT];

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Sets(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(sets, _) => {
                        self.touch_all(&mut touched);
                        self.sets.clear();
                        self.siblings.clear();
                        sets.into_iter().for_each(|set| self.insert_set(set, &mut touched));
                    }
                    Change::Apply(set) => self.insert_set(set, &mut touched),
                    Change::Delete(set) => self.remove_set(&ObjectKey::of(&*set)),
                }
            }
            Event::Pods(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(pods, _) => {
                        self.pods.reset(pods);
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(pod) => {
                        self.remove_pod(&ObjectKey::of(&*pod), &mut touched);
                        self.insert_pod(pod, &mut touched);
                    }
                    Change::Delete(pod) => self.remove_pod(&ObjectKey::of(&*pod), &mut touched),
                }
            }
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
        self.pods.is_gone(removed)
    }
}
