//! What the controller knows: sets, their pods and revisions, and for each set which nodes it is for.
//!
//! What a set says about a node is worked out when either changes, not at each decision: a heartbeat of one
//! of five thousand nodes costs nothing. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::{Change, Typed};
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::selector::Selector;
use model::{meta, placement};
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use super::nodes::{self, Failure, Verdict};
use crate::owned_index::{Objects, OwnedIndex, Pods};

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To sets.
    Sets(Change<DaemonSet>),
    /// To pods.
    Pods(Change<Pod>),
    /// To revisions.
    Revisions(Change<ControllerRevision>),
    /// To nodes.
    Nodes(Change<Node>),
}

/// Nodes by name, with what a set says about each.
pub type Verdicts = BTreeMap<String, Verdict>;

#[derive(Debug)]
struct Entry {
    set: Arc<DaemonSet>,
    selector: Result<Selector, String>,
    /// The spec of its pods.
    spec: PodSpec,
    verdicts: Verdicts,
    failures: BTreeMap<String, Failure>,
}

impl Entry {
    fn judge(&mut self, nodes: &HashMap<String, Arc<Node>>) {
        let judged = nodes.iter().map(|(name, node)| (name.clone(), nodes::judge(&self.spec, node)));
        self.verdicts = judged.collect();
    }
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug)]
pub struct View {
    sets: HashMap<String, BTreeMap<String, Entry>>,
    pods: OwnedIndex<Pod>,
    revisions: OwnedIndex<ControllerRevision>,
    nodes: HashMap<String, Arc<Node>>,
    horizon: Horizon,
}

impl Default for View {
    fn default() -> View {
        View {
            sets: HashMap::new(),
            pods: OwnedIndex::new(DaemonSet::KIND, |_| true),
            revisions: OwnedIndex::new(DaemonSet::KIND, |_| true),
            nodes: HashMap::new(),
            horizon: Horizon::default(),
        }
    }
}

/// One set with everything a decision about it needs.
#[derive(Clone, Copy)]
pub struct SetView<'a> {
    /// The set.
    pub set: &'a Arc<DaemonSet>,
    /// Its selector, or what is wrong with it.
    pub selector: &'a Result<Selector, String>,
    /// The spec of its pods, node aside.
    pub spec: &'a PodSpec,
    /// All nodes, and whether each is to have a pod.
    pub verdicts: &'a Verdicts,
    /// How pods failed on nodes lately.
    pub failures: &'a BTreeMap<String, Failure>,
    /// The pods it manages.
    pub pods: &'a Pods,
    /// The pods of its namespace that nobody manages.
    pub orphans: &'a Pods,
    /// Its revisions.
    pub revisions: &'a Objects<ControllerRevision>,
    /// The revisions of its namespace that nobody manages.
    pub orphan_revisions: &'a Objects<ControllerRevision>,
}

impl View {
    /// What there is to know about one set; `None` when it is gone.
    pub fn set(&self, key: &ObjectKey) -> Option<SetView<'_>> {
        let entry = self.sets.get(&key.namespace)?.get(&key.name)?;
        let metadata = &entry.set.metadata;
        Some(SetView {
            set: &entry.set,
            selector: &entry.selector,
            spec: &entry.spec,
            verdicts: &entry.verdicts,
            failures: &entry.failures,
            pods: self.pods.of(metadata),
            orphans: self.pods.orphans(&key.namespace),
            revisions: self.revisions.of(metadata),
            orphan_revisions: self.revisions.orphans(&key.namespace),
        })
    }

    /// Notes on which nodes a pod failed.
    pub fn note_failures(&mut self, key: &ObjectKey, failed_on: &[String], now: Timestamp) {
        let entry = self.sets.get_mut(&key.namespace).and_then(|sets| sets.get_mut(&key.name));
        let Some(entry) = entry.filter(|entry| !failed_on.is_empty() || !entry.failures.is_empty()) else {
            return;
        };
        entry.failures.retain(|_, failure| !failure.is_old(now));
        for node in failed_on {
            let next = Failure::next(entry.failures.get(node).copied(), now);
            entry.failures.insert(node.clone(), next);
        }
    }

    fn insert_set(&mut self, set: Arc<DaemonSet>, touched: &mut BTreeSet<ObjectKey>) {
        let key = ObjectKey::of(&*set);
        touched.insert(key.clone());
        let selector = Selector::from_label_selector(&set.spec.selector);
        let spec = nodes::tolerant(&set.spec.template.spec.clone().unwrap_or_default());
        let sets = self.sets.entry(key.namespace).or_default();
        let known = sets.remove(&key.name).filter(|known| known.set.metadata.uid == set.metadata.uid);
        let mut entry = match known {
            Some(known) if known.spec == spec => Entry { set, selector, ..known },
            known => {
                let failures = known.map(|known| known.failures).unwrap_or_default();
                Entry { set, selector, spec, verdicts: Verdicts::new(), failures }
            }
        };
        if entry.verdicts.is_empty() {
            entry.judge(&self.nodes);
        }
        sets.insert(key.name, entry);
    }

    fn remove_set(&mut self, key: &ObjectKey) {
        if let Some(sets) = self.sets.get_mut(&key.namespace) {
            sets.remove(&key.name);
            if sets.is_empty() {
                self.sets.remove(&key.namespace);
            }
        }
    }

    /// Takes a node in, or out with `None`; touches the sets for which that makes a difference.
    fn put_node(&mut self, name: &str, node: Option<Arc<Node>>, touched: &mut BTreeSet<ObjectKey>) {
        let known = match &node {
            Some(node) => self.nodes.insert(name.to_owned(), Arc::clone(node)),
            None => self.nodes.remove(name),
        };
        if let (Some(known), Some(node)) = (&known, &node)
            && matters(known) == matters(node)
        {
            return;
        }
        for (namespace, sets) in &mut self.sets {
            for (set, entry) in sets {
                let verdict = node.as_ref().map(|node| nodes::judge(&entry.spec, node));
                let before = match verdict {
                    Some(verdict) => entry.verdicts.insert(name.to_owned(), verdict),
                    None => entry.verdicts.remove(name),
                };
                if before != verdict {
                    touched.insert(ObjectKey::new(namespace.as_str(), set.as_str()));
                }
            }
        }
    }

    /// An object touches the set that manages it; one that nobody manages touches those that select it.
    fn touch(&self, metadata: &ObjectMeta, touched: &mut BTreeSet<ObjectKey>) {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let Some(sets) = self.sets.get(namespace) else { return };
        if let Some(owner) = meta::controller_of(metadata) {
            let known = sets.get(&owner.name);
            if owner.kind == DaemonSet::KIND
                && known.is_some_and(|known| known.set.metadata.uid.as_ref() == Some(&owner.uid))
            {
                touched.insert(ObjectKey::new(namespace, owner.name.as_str()));
            }
            return;
        }
        let empty = BTreeMap::new();
        let labels = metadata.labels.as_ref().unwrap_or(&empty);
        for (name, entry) in sets {
            if entry.selector.as_ref().is_ok_and(|selector| selector.matches(labels)) {
                touched.insert(ObjectKey::new(namespace, name.as_str()));
            }
        }
    }

    fn touch_all(&self, touched: &mut BTreeSet<ObjectKey>) {
        for (namespace, sets) in &self.sets {
            touched.extend(sets.keys().map(|name| ObjectKey::new(namespace.as_str(), name.as_str())));
        }
    }

    fn apply_sets(&mut self, change: Change<DaemonSet>, touched: &mut BTreeSet<ObjectKey>) {
        match change {
            Change::Reset(sets, _) => {
                let present: BTreeSet<ObjectKey> = sets.iter().map(|set| ObjectKey::of(&**set)).collect();
                for (namespace, known) in &mut self.sets {
                    known.retain(|name, _| {
                        present.contains(&ObjectKey::new(namespace.as_str(), name.as_str()))
                    });
                }
                sets.into_iter().for_each(|set| self.insert_set(set, touched));
            }
            Change::Apply(set) => self.insert_set(set, touched),
            Change::Delete(set) => self.remove_set(&ObjectKey::of(&*set)),
        }
    }

    /// Applies a change of what sets own.
    fn apply_owned<K: Typed>(
        &mut self,
        index: fn(&mut View) -> &mut OwnedIndex<K>,
        change: Change<K>,
        touched: &mut BTreeSet<ObjectKey>,
    ) {
        let (known, new) = match change {
            Change::Reset(objects, _) => {
                index(self).reset(objects);
                self.touch_all(touched);
                return;
            }
            Change::Apply(object) => (index(self).remove(&ObjectKey::of(&*object)), Some(object)),
            Change::Delete(object) => (index(self).remove(&ObjectKey::of(&*object)), None),
        };
        if let Some(known) = known {
            self.touch(known.metadata(), touched);
        }
        if let Some(new) = new.filter(|new| index(self).insert(Arc::clone(new))) {
            self.touch(new.metadata(), touched);
        }
    }

    fn apply_nodes(&mut self, change: Change<Node>, touched: &mut BTreeSet<ObjectKey>) {
        match change {
            Change::Reset(nodes, _) => {
                let named = nodes.into_iter().map(|node| (placement::name(&node).to_owned(), node));
                self.nodes = named.collect();
                let nodes = &self.nodes;
                self.sets.values_mut().flat_map(BTreeMap::values_mut).for_each(|entry| entry.judge(nodes));
                self.touch_all(touched);
            }
            Change::Apply(node) => {
                let name = placement::name(&node).to_owned();
                self.put_node(&name, Some(node), touched);
            }
            Change::Delete(node) => self.put_node(placement::name(&node), None, touched),
        }
    }
}

/// What of a node can make a difference.
fn matters(node: &Node) -> (&BTreeMap<String, String>, Option<&Vec<Taint>>) {
    (placement::labels(node), node.spec.as_ref().and_then(|spec| spec.taints.as_ref()))
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[
    DaemonSet::URL_PATH_SEGMENT,
    Pod::URL_PATH_SEGMENT,
    ControllerRevision::URL_PATH_SEGMENT,
    Node::URL_PATH_SEGMENT,
];

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Sets(change) => {
                self.horizon.observe(&change);
                self.apply_sets(change, &mut touched);
            }
            Event::Nodes(change) => {
                self.horizon.observe(&change);
                self.apply_nodes(change, &mut touched);
            }
            Event::Pods(change) => {
                self.horizon.observe(&change);
                self.apply_owned(|view| &mut view.pods, change, &mut touched);
            }
            Event::Revisions(change) => {
                self.horizon.observe(&change);
                self.apply_owned(|view| &mut view.revisions, change, &mut touched);
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
        if removed.resource == Pod::URL_PATH_SEGMENT {
            self.pods.is_gone(removed)
        } else {
            self.revisions.is_gone(removed)
        }
    }
}
