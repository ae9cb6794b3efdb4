//! Objects as the controllers of their owners look for them: by who manages them, and those that nobody
//! manages.
//!
//! An object is found by its owner's uid, so that a decision about one owner never looks at the objects of
//! another. Which are of any interest is the controller's to say; nothing here decides.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::Typed;
use k8s_openapi::api::core::v1::Pod;
use model::meta;
use reconcile::barrier::Removed;
use reconcile::runner::ObjectKey;

/// Objects by their names.
pub type Objects<K> = BTreeMap<String, Arc<K>>;
/// Pods by their names.
pub type Pods = Objects<Pod>;

/// The objects of the owners of one kind.
#[derive(Debug)]
pub struct OwnedIndex<K> {
    /// The kind of the owners.
    kind: &'static str,
    /// False for objects that no decision needs.
    matters: fn(&K) -> bool,
    all: HashMap<ObjectKey, Arc<K>>,
    /// By the uid of the owner.
    owned: HashMap<String, Objects<K>>,
    /// Those that nobody manages, by namespace.
    orphans: HashMap<String, Objects<K>>,
    none: Objects<K>,
}

impl<K: Typed> OwnedIndex<K> {
    /// An empty index for owners of this kind, of the objects that matter.
    pub fn new(kind: &'static str, matters: fn(&K) -> bool) -> OwnedIndex<K> {
        OwnedIndex {
            kind,
            matters,
            all: HashMap::new(),
            owned: HashMap::new(),
            orphans: HashMap::new(),
            none: Objects::new(),
        }
    }

    /// The objects that the owner of this uid manages.
    pub fn of(&self, uid: &str) -> &Objects<K> {
        self.owned.get(uid).unwrap_or(&self.none)
    }

    /// The objects of a namespace that nobody manages.
    pub fn orphans(&self, namespace: &str) -> &Objects<K> {
        self.orphans.get(namespace).unwrap_or(&self.none)
    }

    /// The object of this name, if it matters here.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.all.get(key)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.all.values()
    }

    /// Takes an object in, in place of what was known of it; false when it does not matter here.
    pub fn insert(&mut self, object: Arc<K>) -> bool {
        let key = ObjectKey::of(&*object);
        self.remove(&key);
        if !(self.matters)(&object) {
            return false;
        }
        let holder = match meta::controller_of(object.metadata()) {
            None => self.orphans.entry(key.namespace.clone()).or_default(),
            Some(owner) if owner.kind == self.kind => self.owned.entry(owner.uid.clone()).or_default(),
            // Those of other controllers are none of ours.
            Some(_) => return false,
        };
        holder.insert(key.name.clone(), Arc::clone(&object));
        self.all.insert(key, object);
        true
    }

    /// Lets an object go; what was known of it.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let known = self.all.remove(key)?;
        let (index, at) = match meta::controller_of(known.metadata()) {
            Some(owner) => (&mut self.owned, &owner.uid),
            None => (&mut self.orphans, &key.namespace),
        };
        if let Some(holder) = index.get_mut(at) {
            holder.remove(&key.name);
            if holder.is_empty() {
                index.remove(at);
            }
        }
        Some(known)
    }

    /// Takes in these and no others.
    pub fn reset(&mut self, objects: Vec<Arc<K>>) {
        self.all.clear();
        self.owned.clear();
        self.orphans.clear();
        for object in objects {
            self.insert(object);
        }
    }

    /// True when a removed object is gone, or on its way.
    pub fn is_gone(&self, removed: &Removed) -> bool {
        let known = self.all.get(&ObjectKey::new(&removed.namespace, &removed.name));
        known.is_none_or(|object| {
            let metadata = object.metadata();
            metadata.uid.as_ref() != Some(&removed.uid) || meta::is_terminating(metadata)
        })
    }
}
