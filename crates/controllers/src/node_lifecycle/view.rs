//! What the controller knows: nodes, and when each was last heard of.
//!
//! A sign of life is a Lease that changes, or a heartbeat in the node's conditions that does. When it came
//! is told by this process' clock: that of the node may be wrong. After a start every node has just been
//! heard of. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use model::pod;
use reconcile::barrier::Horizon;
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use super::plan::Plan;
use super::taints;
use super::zones::{Turn, Zones};

/// The kinds that this view shows.
const KINDS: &[&str] = &[Node::URL_PATH_SEGMENT, Lease::URL_PATH_SEGMENT, Pod::URL_PATH_SEGMENT];

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To nodes, and when it was heard of.
    Nodes(Change<Node>, Timestamp),
    /// To their leases, and when it was heard of.
    Leases(Change<Lease>, Timestamp),
    /// To pods.
    Pods(Change<Pod>),
}

/// A node.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The node.
    pub node: Arc<Node>,
    /// When it was last heard of.
    pub heard: Timestamp,
    /// Nobody was told of it yet.
    pub is_new: bool,
    /// When its pods were last said not to be ready against their own word.
    pub contradicted: Option<Timestamp>,
}

#[derive(Debug)]
struct Renewal {
    renewed: Option<Timestamp>,
    seen: Timestamp,
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    nodes: BTreeMap<String, Entry>,
    leases: BTreeMap<String, Renewal>,
    /// Pods that call themselves ready, by their node.
    ready: BTreeMap<String, BTreeMap<ObjectKey, Arc<Pod>>>,
    /// The node of each of those.
    places: HashMap<ObjectKey, String>,
    zones: Zones,
    /// Nodes whose turn has not come.
    waiting: BTreeSet<String>,
    horizon: Horizon,
}

impl Picture for View {
    type Key = String;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<String> {
        match event {
            Event::Nodes(change, now) => {
                self.horizon.observe(&change);
                self.apply_nodes(change, now)
            }
            Event::Leases(change, now) => {
                self.horizon.observe(&change);
                self.apply_leases(change, now)
            }
            Event::Pods(change) => {
                self.horizon.observe(&change);
                self.apply_pods(change)
            }
        }
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }
}

impl View {
    fn apply_nodes(&mut self, change: Change<Node>, now: Timestamp) -> BTreeSet<String> {
        let was_dark = self.zones.is_dark();
        let (mut touched, counts_changed) = self.change_nodes(change, now);
        if counts_changed {
            touched.extend(self.waiting.iter().cloned());
        }
        if was_dark != self.zones.is_dark() {
            touched.extend(self.nodes.keys().cloned());
        }
        touched
    }

    /// The nodes to be looked at, and whether more or fewer are well than before.
    fn change_nodes(&mut self, change: Change<Node>, now: Timestamp) -> (BTreeSet<String>, bool) {
        let mut touched = BTreeSet::new();
        let mut counts_changed = false;
        match change {
            Change::Reset(nodes, _) => {
                let mut before = std::mem::take(&mut self.nodes);
                for node in nodes {
                    let known = before.remove(node.metadata.name.as_deref().unwrap_or_default());
                    counts_changed |= self.zones.put(&node);
                    touched.insert(self.put_node(node, known, now));
                }
                for name in before.keys() {
                    counts_changed |= self.zones.remove(name);
                    self.waiting.remove(name);
                }
            }
            Change::Apply(node) => {
                let known = self.nodes.remove(node.metadata.name.as_deref().unwrap_or_default());
                counts_changed |= self.zones.put(&node);
                touched.insert(self.put_node(node, known, now));
            }
            Change::Delete(node) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                self.nodes.remove(name);
                self.waiting.remove(name);
                counts_changed |= self.zones.remove(name);
            }
        }
        (touched, counts_changed)
    }

    fn put_node(&mut self, node: Arc<Node>, known: Option<Entry>, now: Timestamp) -> String {
        let name = node.metadata.name.clone().unwrap_or_default();
        let known = known.filter(|known| known.node.metadata.uid == node.metadata.uid);
        let leased = self.leases.get(&name).map(|lease| lease.seen);
        let is_new = known.as_ref().is_none_or(|known| known.is_new);
        let contradicted = known.as_ref().and_then(|known| known.contradicted);
        let heard = match known {
            Some(known) if heartbeat(&known.node) == heartbeat(&node) => known.heard,
            Some(_) => now,
            None => leased.unwrap_or(now),
        };
        self.nodes.insert(name.clone(), Entry { node, heard, is_new, contradicted });
        name
    }

    fn apply_leases(&mut self, change: Change<Lease>, now: Timestamp) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match change {
            Change::Reset(leases, _) => {
                let names: BTreeSet<&str> =
                    leases.iter().filter_map(|lease| lease.metadata.name.as_deref()).collect();
                self.leases.retain(|name, _| names.contains(name.as_str()));
                for lease in &leases {
                    touched.extend(self.put_lease(lease, now));
                }
            }
            Change::Apply(lease) => touched.extend(self.put_lease(&lease, now)),
            Change::Delete(lease) => {
                self.leases.remove(lease.metadata.name.as_deref().unwrap_or_default());
            }
        }
        touched
    }

    fn put_lease(&mut self, lease: &Lease, now: Timestamp) -> Option<String> {
        let name = lease.metadata.name.clone()?;
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        if self.leases.get(&name).is_some_and(|known| known.renewed == renewed) {
            return None;
        }
        self.leases.insert(name.clone(), Renewal { renewed, seen: now });
        let entry = self.nodes.get_mut(&name)?;
        entry.heard = entry.heard.max(now);
        Some(name)
    }

    fn apply_pods(&mut self, change: Change<Pod>) -> BTreeSet<String> {
        let mut touched = BTreeSet::new();
        match change {
            Change::Reset(pods, _) => {
                self.ready.clear();
                self.places.clear();
                for pod in pods {
                    touched.extend(self.put_pod(pod));
                }
            }
            Change::Apply(pod) => touched.extend(self.put_pod(pod)),
            Change::Delete(pod) => self.remove_pod(&ObjectKey::of(&*pod)),
        }
        touched
    }

    /// The pod's node, if it is to be looked at: nodes that are well need no decision for each of their pods.
    fn put_pod(&mut self, pod: Arc<Pod>) -> Option<String> {
        let key = ObjectKey::of(&*pod);
        self.remove_pod(&key);
        if !pod::is_ready(&pod) || pod::is_failed_or_succeeded(&pod) {
            return None;
        }
        let node = pod::node_name(&pod)?.to_owned();
        self.places.insert(key.clone(), node.clone());
        self.ready.entry(node.clone()).or_default().insert(key, pod);
        self.nodes.get(&node).is_some_and(|entry| is_unknown(&entry.node)).then_some(node)
    }

    fn remove_pod(&mut self, key: &ObjectKey) {
        let Some(node) = self.places.remove(key) else { return };
        if let Some(pods) = self.ready.get_mut(&node) {
            pods.remove(key);
            if pods.is_empty() {
                self.ready.remove(&node);
            }
        }
    }

    /// The pods of a node that call themselves ready.
    pub fn ready_pods(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.ready.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether it is a node's turn to have its pods made to go.
    pub fn turn(&self, node: &str, now: Timestamp) -> Turn {
        self.zones.turn(node, now)
    }

    /// Remembers what was told, whose turn it was, and who waits for it.
    pub fn note(&mut self, node: &str, plan: &Plan, now: Timestamp) {
        if let Some(entry) = self.nodes.get_mut(node) {
            entry.is_new &= !plan.is_new;
            if !plan.pods.is_empty() {
                entry.contradicted = Some(now);
            }
        }
        if plan.took_turn {
            self.zones.took(node, now);
        }
        let waits =
            !plan.took_turn && self.nodes.get(node).is_some_and(|entry| taints::wants_turn(&entry.node));
        if waits {
            self.waiting.insert(node.to_owned());
        } else {
            self.waiting.remove(node);
        }
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&Entry> {
        self.nodes.get(name)
    }
}

/// True when it was said of a node that nobody knows whether it is ready.
fn is_unknown(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let mut all = conditions.unwrap_or_default().iter();
    all.any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

/// The newest heartbeat in a node's conditions. What this controller writes keeps it.
fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let all = conditions.unwrap_or_default().iter();
    all.filter_map(|condition| condition.last_heartbeat_time.as_ref()).map(|time| time.0).max()
}
