//! Nodes, and namespaces, as they change: what a change may help, and which counts it moves.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::{Namespace, Node};
use reconcile::runner::ObjectKey;

use super::{View, name_of, placed};
use crate::filters::Cause;
use crate::request::{Amounts, parse};
use crate::selection;

/// A node.
pub struct Machine {
    /// The node.
    pub node: Arc<Node>,
    /// What it has for pods.
    pub allocatable: Amounts,
}

impl Machine {
    fn of(node: Arc<Node>) -> Machine {
        let allocatable = parse(node.status.as_ref().and_then(|status| status.allocatable.as_ref()));
        Machine { node, allocatable }
    }

    /// True when the other makes no difference to any decision: most changes of a node are its heartbeat.
    fn is_same(&self, other: &Machine) -> bool {
        self.node.metadata.uid == other.node.metadata.uid
            && self.node.metadata.labels == other.node.metadata.labels
            && self.node.spec == other.node.spec
            && self.allocatable == other.allocatable
    }
}

impl View {
    pub(super) fn apply_nodes(&mut self, change: Change<Node>) -> BTreeSet<ObjectKey> {
        match change {
            Change::Reset(nodes, _) => {
                let names: BTreeSet<String> = nodes.iter().map(|node| name_of(&node.metadata)).collect();
                let gone: Vec<String> =
                    self.machines.keys().filter(|name| !names.contains(*name)).cloned().collect();
                gone.iter().for_each(|name| self.remove_machine(name));
                for node in nodes {
                    self.put_machine(node);
                }
            }
            Change::Apply(node) => {
                if !self.put_machine(node) {
                    return BTreeSet::new();
                }
            }
            Change::Delete(node) => self.remove_machine(&name_of(&node.metadata)),
        }
        self.unplaced.keys().cloned().collect()
    }

    /// True when it makes a difference.
    fn put_machine(&mut self, node: Arc<Node>) -> bool {
        let name = name_of(&node.metadata);
        let machine = Machine::of(node);
        let old = self.machines.get(&name);
        let differs = old.is_none_or(|old| !old.is_same(&machine));
        let old = old.map(|old| selection::labels(&old.node));
        self.neighbours.relabel(&name, old, Some(selection::labels(&machine.node)));
        self.machines.insert(name, machine);
        differs
    }

    fn remove_machine(&mut self, name: &str) {
        if let Some(old) = self.machines.remove(name) {
            self.neighbours.relabel(name, Some(selection::labels(&old.node)), None);
        }
    }

    pub(super) fn apply_namespaces(&mut self, change: Change<Namespace>) -> BTreeSet<ObjectKey> {
        let labels = |namespace: &Namespace| namespace.metadata.labels.clone().unwrap_or_default();
        let mut changes = Vec::new();
        match change {
            Change::Reset(namespaces, _) => {
                let known = self.neighbours.namespaces().keys().cloned();
                let mut gone: BTreeSet<String> = known.collect();
                for namespace in namespaces {
                    let name = name_of(&namespace.metadata);
                    gone.remove(&name);
                    changes.push((name, Some(labels(&namespace))));
                }
                changes.extend(gone.into_iter().map(|name| (name, None)));
            }
            Change::Apply(namespace) => {
                changes.push((name_of(&namespace.metadata), Some(labels(&namespace))));
            }
            Change::Delete(namespace) => changes.push((name_of(&namespace.metadata), None)),
        }
        let mut helps = false;
        for (name, labels) in changes {
            let View { neighbours, places, machines, .. } = self;
            helps |= neighbours.set_namespace(&name, labels, || placed(places, machines, None));
        }
        if helps { self.retried(&[Cause::Neighbours]) } else { BTreeSet::new() }
    }
}
