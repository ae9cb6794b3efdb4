//! What the controller knows: taints that make pods go, and the pods of each node.
//!
//! A heartbeat of a node touches nobody; a taint that comes or goes touches the node's pods, and a change of
//! a pod that pod, if its node has such a taint. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use model::pod;
use model::taint::NO_EXECUTE;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use super::plan::Plan;

/// The kinds that this view shows.
const KINDS: &[&str] = &[Node::URL_PATH_SEGMENT, Pod::URL_PATH_SEGMENT];

/// Everything that can happen to the view, and when it was heard of.
#[derive(Debug, Clone)]
pub enum Event {
    /// To nodes.
    Nodes(Change<Node>, Timestamp),
    /// To pods.
    Pods(Change<Pod>, Timestamp),
}

/// A taint that makes pods go.
#[derive(Debug, Clone, PartialEq)]
pub struct Met {
    /// The taint.
    pub taint: Taint,
    /// Since when: what it says itself, or when it was first seen.
    pub since: Timestamp,
}

/// A pod on a node that has, or had, such taints.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// Since when it is on its node.
    pub since: Timestamp,
    /// The node's taints that make pods go.
    pub taints: &'a [Met],
    /// An earlier decision was that it has to go later.
    pub was_to_go: bool,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    node: String,
    since: Timestamp,
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    /// Nodes that have taints that make pods go.
    tainted: HashMap<String, Vec<Met>>,
    pods: HashMap<ObjectKey, Entry>,
    by_node: HashMap<String, BTreeSet<ObjectKey>>,
    /// Pods that have to go later.
    to_go: BTreeSet<ObjectKey>,
    horizon: Horizon,
}

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        match event {
            Event::Nodes(change, now) => {
                self.horizon.observe(&change);
                self.apply_nodes(change, now)
            }
            Event::Pods(change, now) => {
                self.horizon.observe(&change);
                self.apply_pods(change, now)
            }
        }
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    fn is_gone(&self, removed: &Removed) -> bool {
        let key = ObjectKey::new(removed.namespace.clone(), removed.name.clone());
        let uid = self.pods.get(&key).and_then(|entry| entry.pod.metadata.uid.as_deref());
        uid != Some(removed.uid.as_str())
    }
}

impl View {
    fn apply_nodes(&mut self, change: Change<Node>, now: Timestamp) -> BTreeSet<ObjectKey> {
        match change {
            Change::Reset(nodes, _) => {
                let mut gone: BTreeSet<String> = self.tainted.keys().cloned().collect();
                let mut touched = BTreeSet::new();
                for node in nodes {
                    gone.remove(name_of(&node));
                    touched.extend(self.put_node(&node, now));
                }
                for node in gone {
                    self.tainted.remove(&node);
                    touched.extend(self.pods_of(&node));
                }
                touched
            }
            Change::Apply(node) => self.put_node(&node, now),
            Change::Delete(node) => match self.tainted.remove(name_of(&node)) {
                Some(_) => self.pods_of(name_of(&node)),
                None => BTreeSet::new(),
            },
        }
    }

    fn put_node(&mut self, node: &Node, now: Timestamp) -> BTreeSet<ObjectKey> {
        let name = name_of(node);
        let known = self.tainted.get(name).map_or(&[] as &[Met], Vec::as_slice);
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let met: Vec<Met> = taints
            .filter(|taint| taint.effect == NO_EXECUTE)
            .map(|taint| {
                let before = known.iter().find(|met| met.taint.key == taint.key);
                let said = taint.time_added.as_ref().map(|time| time.0).filter(|time| *time <= now);
                let since = said.or_else(|| before.map(|met| met.since)).unwrap_or(now);
                Met { taint: taint.clone(), since }
            })
            .collect();
        if met == known {
            return BTreeSet::new();
        }
        if met.is_empty() {
            self.tainted.remove(name);
        } else {
            self.tainted.insert(name.to_owned(), met);
        }
        self.pods_of(name)
    }

    fn pods_of(&self, node: &str) -> BTreeSet<ObjectKey> {
        self.by_node.get(node).cloned().unwrap_or_default()
    }

    fn apply_pods(&mut self, change: Change<Pod>, now: Timestamp) -> BTreeSet<ObjectKey> {
        match change {
            Change::Reset(pods, _) => {
                let mut before = std::mem::take(&mut self.pods);
                self.by_node.clear();
                let mut touched = BTreeSet::new();
                for pod in pods {
                    let known = before.remove(&ObjectKey::of(&*pod));
                    touched.extend(self.put_pod(pod, known, now));
                }
                self.to_go.retain(|key| self.pods.contains_key(key));
                touched
            }
            Change::Apply(pod) => {
                let known = self.remove_pod(&ObjectKey::of(&*pod));
                self.put_pod(pod, known, now).into_iter().collect()
            }
            Change::Delete(pod) => {
                let key = ObjectKey::of(&*pod);
                self.remove_pod(&key);
                self.to_go.remove(&key);
                BTreeSet::new()
            }
        }
    }

    /// The pod, if it is to be looked at.
    fn put_pod(&mut self, pod: Arc<Pod>, known: Option<Entry>, now: Timestamp) -> Option<ObjectKey> {
        let key = ObjectKey::of(&*pod);
        let node = pod::node_name(&pod)?.to_owned();
        let known = known.filter(|known| known.pod.metadata.uid == pod.metadata.uid);
        if known.is_none() {
            self.to_go.remove(&key);
        }
        let placed = pod::condition(&pod, "PodScheduled").filter(|condition| condition.status == "True");
        let placed = placed.and_then(|condition| condition.last_transition_time.as_ref());
        let placed = placed.map(|time| time.0).filter(|time| *time <= now);
        let since = known.map_or_else(|| placed.unwrap_or(now), |known| known.since);
        let is_met = self.tainted.contains_key(&node) || self.to_go.contains(&key);
        self.by_node.entry(node.clone()).or_default().insert(key.clone());
        self.pods.insert(key.clone(), Entry { pod, node, since });
        is_met.then_some(key)
    }

    fn remove_pod(&mut self, key: &ObjectKey) -> Option<Entry> {
        let entry = self.pods.remove(key)?;
        if let Some(pods) = self.by_node.get_mut(&entry.node) {
            pods.remove(key);
            if pods.is_empty() {
                self.by_node.remove(&entry.node);
            }
        }
        Some(entry)
    }

    /// A pod that has a node.
    pub fn guest(&self, key: &ObjectKey) -> Option<Guest<'_>> {
        let entry = self.pods.get(key)?;
        let taints = self.tainted.get(&entry.node).map_or(&[] as &[Met], Vec::as_slice);
        let was_to_go = self.to_go.contains(key);
        Some(Guest { pod: &entry.pod, since: entry.since, taints, was_to_go })
    }

    /// Remembers who was told to go later, so that it can be told that it may stay.
    pub fn note(&mut self, key: &ObjectKey, plan: &Plan) {
        if plan.requeue_after.is_some() {
            self.to_go.insert(key.clone());
        } else {
            self.to_go.remove(key);
        }
    }
}

fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}
