//! Which of many queries may mean a pod, found by its labels: most queries name a value that a label must
//! have, so that a pod is held against those that name one of its own.

use std::collections::{BTreeSet, HashMap};

use crate::terms::{Labels, Query};

/// Queries by what they name. An id stands for a query.
#[derive(Debug, Default)]
pub(super) struct ByLabel {
    anchored: HashMap<String, HashMap<String, BTreeSet<u64>>>,
    /// Those that name none.
    free: BTreeSet<u64>,
}

impl ByLabel {
    pub(super) fn put(&mut self, id: u64, query: &Query) {
        let Some((key, values)) = query.anchor() else {
            self.free.insert(id);
            return;
        };
        let by_value = self.anchored.entry(key.to_owned()).or_default();
        for value in values {
            by_value.entry(value.clone()).or_default().insert(id);
        }
    }

    pub(super) fn take_out(&mut self, id: u64, query: &Query) {
        let Some((key, values)) = query.anchor() else {
            self.free.remove(&id);
            return;
        };
        let Some(by_value) = self.anchored.get_mut(key) else { return };
        for value in values {
            if let Some(ids) = by_value.get_mut(value) {
                ids.remove(&id);
                if ids.is_empty() {
                    by_value.remove(value);
                }
            }
        }
        if by_value.is_empty() {
            self.anchored.remove(key);
        }
    }

    /// Those that may mean a pod with these labels, each once: a query is anchored at one key.
    pub(super) fn candidates(&self, labels: &Labels) -> impl Iterator<Item = u64> {
        let named = labels.iter().filter_map(|(key, value)| self.anchored.get(key)?.get(value)).flatten();
        named.chain(&self.free).copied()
    }
}
