//! Objects as the controllers of their owners look for them: by who manages them, and those that nobody
//! manages.
//!
//! An object is found by its owner's uid and namespace, so that a decision about one owner never looks at the
//! objects of another, nor at what was copied into another namespace with its owners. Which are of any
//! interest is the controller's to say; nothing here decides.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use client::Typed;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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
    /// By their namespace and the uid of the owner.
    owned: HashMap<ObjectKey, Objects<K>>,
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

    /// The objects that an owner manages.
    pub fn of(&self, owner: &ObjectMeta) -> &Objects<K> {
        let uid = owner.uid.as_deref().unwrap_or_default();
        let namespace = owner.namespace.as_deref().unwrap_or_default();
        self.owned.get(&ObjectKey::new(namespace, uid)).unwrap_or(&self.none)
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
            Some(owner) if owner.kind == self.kind => {
                self.owned.entry(ObjectKey::new(&key.namespace, &owner.uid)).or_default()
            }
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
        match meta::controller_of(known.metadata()) {
            Some(owner) => take(&mut self.owned, &ObjectKey::new(&key.namespace, &owner.uid), &key.name),
            None => take(&mut self.orphans, &key.namespace, &key.name),
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

/// Takes an object out of a heap, and the heap out of the index with its last.
fn take<A: Eq + Hash, K>(index: &mut HashMap<A, Objects<K>>, at: &A, name: &str) {
    if let Some(heap) = index.get_mut(at) {
        heap.remove(name);
        if heap.is_empty() {
            index.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    #[test]
    fn a_copy_in_another_namespace_is_nobodys_there_and_leaves_the_first_alone() {
        let pod = |namespace: &str| {
            let owner = OwnerReference {
                kind: "Job".to_owned(),
                name: "j".to_owned(),
                uid: "u".to_owned(),
                controller: Some(true),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta {
                name: Some("p".to_owned()),
                namespace: Some(namespace.to_owned()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            };
            Arc::new(Pod { metadata, ..Pod::default() })
        };
        let owner = ObjectMeta {
            uid: Some("u".to_owned()),
            namespace: Some("here".to_owned()),
            ..ObjectMeta::default()
        };
        let mut index = OwnedIndex::new("Job", |_: &Pod| true);
        index.insert(pod("here"));
        index.insert(pod("there"));
        let namespaces = |index: &OwnedIndex<Pod>| -> Vec<String> {
            index.of(&owner).values().filter_map(|pod| pod.metadata.namespace.clone()).collect()
        };
        assert_eq!(namespaces(&index), ["here"]);
        index.remove(&ObjectKey::new("there", "p"));
        assert_eq!(namespaces(&index), ["here"]);
    }
}
