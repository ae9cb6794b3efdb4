//! How many pods there are on each node, and in each domain of some topologies.

use std::collections::HashMap;

use crate::terms::Labels;

/// A count of pods.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    by_node: HashMap<String, i64>,
    by_topology: HashMap<String, Domains>,
}

/// A count of pods in the domains of one topology.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Domains {
    by_value: HashMap<String, i64>,
    total: i64,
}

impl Domains {
    fn change(&mut self, value: &str, by: i64) {
        self.total += by;
        change(&mut self.by_value, value, by);
    }
}

impl Tally {
    /// Begins to count in a topology too; `labels` are those of a node.
    pub(super) fn add_topology<'a>(&mut self, key: &str, labels: impl Fn(&str) -> Option<&'a Labels>) {
        if self.by_topology.contains_key(key) {
            return;
        }
        let mut domains = Domains::default();
        for (node, count) in &self.by_node {
            if let Some(value) = labels(node).and_then(|labels| labels.get(key)) {
                domains.change(value, *count);
            }
        }
        self.by_topology.insert(key.to_owned(), domains);
    }

    /// Counts pods of a node in (or out).
    pub(super) fn change(&mut self, node: &str, labels: Option<&Labels>, by: i64) {
        change(&mut self.by_node, node, by);
        for (key, domains) in &mut self.by_topology {
            if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                domains.change(value, by);
            }
        }
    }

    /// Forgets all pods, not the topologies.
    pub(super) fn empty(&mut self) {
        self.by_node.clear();
        self.by_topology.values_mut().for_each(|domains| *domains = Domains::default());
    }

    /// Counts a node's pods in the domains that its new labels say.
    pub(super) fn relabel(&mut self, node: &str, old: Option<&Labels>, new: Option<&Labels>) {
        let Some(count) = self.by_node.get(node).copied() else { return };
        for (key, domains) in &mut self.by_topology {
            let value = |labels: Option<&Labels>| labels.and_then(|labels| labels.get(key)).cloned();
            let (old, new) = (value(old), value(new));
            if old == new {
                continue;
            }
            if let Some(old) = old {
                domains.change(&old, -count);
            }
            if let Some(new) = new {
                domains.change(&new, count);
            }
        }
    }

    /// How many nodes have any.
    pub(super) fn nodes(&self) -> usize {
        self.by_node.len()
    }

    /// How many are on a node.
    pub(crate) fn on(&self, node: &str) -> i64 {
        self.by_node.get(node).copied().unwrap_or_default()
    }

    /// How many are in a domain of a topology that is counted in.
    pub(crate) fn within(&self, key: &str, value: &str) -> i64 {
        let domains = self.by_topology.get(key);
        domains.and_then(|domains| domains.by_value.get(value)).copied().unwrap_or_default()
    }

    /// How many are in any domain of a topology that is counted in.
    pub(crate) fn total(&self, key: &str) -> i64 {
        self.by_topology.get(key).map_or(0, |domains| domains.total)
    }
}

fn change(counts: &mut HashMap<String, i64>, key: &str, by: i64) {
    let Some(count) = counts.get_mut(key) else {
        counts.insert(key.to_owned(), by);
        return;
    };
    *count += by;
    if *count == 0 {
        counts.remove(key);
    }
}
