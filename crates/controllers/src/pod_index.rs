//! Pods as controllers that make them look for them: by who manages them, and those that nobody manages.
//!
//! A pod is found by its owner's uid, so that a decision about one owner never looks at the pods of another.
//! Which pods are of any interest is the controller's to say; nothing here decides.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use model::meta;
use reconcile::barrier::Removed;
use reconcile::runner::ObjectKey;

/// Pods by their names.
pub type Pods = BTreeMap<String, Arc<Pod>>;

/// The pods of the owners of one kind.
#[derive(Debug)]
pub struct PodIndex {
    /// The kind of the owners.
    kind: &'static str,
    /// False for pods that no decision needs.
    matters: fn(&Pod) -> bool,
    pods: HashMap<ObjectKey, Arc<Pod>>,
    /// By the uid of the owner.
    owned: HashMap<String, Pods>,
    /// Those that nobody manages, by namespace.
    orphans: HashMap<String, Pods>,
    none: Pods,
}

impl PodIndex {
    /// An index without pods for owners of this kind, of the pods that matter.
    pub fn new(kind: &'static str, matters: fn(&Pod) -> bool) -> PodIndex {
        PodIndex {
            kind,
            matters,
            pods: HashMap::new(),
            owned: HashMap::new(),
            orphans: HashMap::new(),
            none: Pods::new(),
        }
    }

    /// The pods that the owner of this uid manages.
    pub fn of(&self, uid: &str) -> &Pods {
        self.owned.get(uid).unwrap_or(&self.none)
    }

    /// The pods of a namespace that nobody manages.
    pub fn orphans(&self, namespace: &str) -> &Pods {
        self.orphans.get(namespace).unwrap_or(&self.none)
    }

    /// The pod of this name, if it matters here.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Pod>> {
        self.pods.get(key)
    }

    /// Takes a pod in, in place of what was known of it.
    pub fn insert(&mut self, pod: Arc<Pod>) {
        let key = ObjectKey::of(&*pod);
        self.remove(&key);
        if !(self.matters)(&pod) {
            return;
        }
        let holder = match meta::controller_of(&pod.metadata) {
            None => self.orphans.entry(key.namespace.clone()).or_default(),
            Some(owner) if owner.kind == self.kind => self.owned.entry(owner.uid.clone()).or_default(),
            // Pods of other controllers are none of ours.
            Some(_) => return,
        };
        holder.insert(key.name.clone(), Arc::clone(&pod));
        self.pods.insert(key, pod);
    }

    /// Lets a pod go; what was known of it.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Pod>> {
        let known = self.pods.remove(key)?;
        let (index, at) = match meta::controller_of(&known.metadata) {
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

    /// Lets all go.
    pub fn clear(&mut self) {
        self.pods.clear();
        self.owned.clear();
        self.orphans.clear();
    }

    /// True when a removed pod is gone, or on its way.
    pub fn is_gone(&self, removed: &Removed) -> bool {
        let known = self.pods.get(&ObjectKey::new(&removed.namespace, &removed.name));
        known.is_none_or(|pod| {
            pod.metadata.uid.as_ref() != Some(&removed.uid) || meta::is_terminating(&pod.metadata)
        })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Pod>)> {
        self.pods.iter()
    }
}
