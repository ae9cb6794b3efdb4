//! What a budget's pods come to, kept up pod by pod so that nobody counts them again.
//!
//! A pod is added with what was seen of it and must be taken off with the very same. Nothing here selects
//! pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use model::meta;

/// The pods of one budget.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// How many there are.
    pub pods: usize,
    /// How many are ready and stay.
    pub healthy: usize,
    /// Names of those that nobody manages.
    pub unmanaged: BTreeSet<String>,
    /// Names of the others by the uid of who manages them.
    pub by_owner: BTreeMap<String, BTreeSet<String>>,
}

impl Tally {
    /// Counts a pod in.
    pub fn add(&mut self, pod: &Pod) {
        self.pods += 1;
        self.healthy += usize::from(is_healthy(pod));
        let name = pod.metadata.name.clone().unwrap_or_default();
        match owner_of(pod) {
            Some(owner) => self.by_owner.entry(owner.to_owned()).or_default().insert(name),
            None => self.unmanaged.insert(name),
        };
    }

    /// Counts a pod out that was counted in like this.
    pub fn remove(&mut self, pod: &Pod) {
        self.pods -= 1;
        self.healthy -= usize::from(is_healthy(pod));
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(owner) = owner_of(pod) else {
            self.unmanaged.remove(name);
            return;
        };
        if let Some(names) = self.by_owner.get_mut(owner) {
            names.remove(name);
            if names.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}

/// True when the pod is ready and nobody has asked for its end.
pub fn is_healthy(pod: &Pod) -> bool {
    model::pod::is_ready(pod) && !meta::is_terminating(&pod.metadata)
}

/// The uid of who manages the pod.
pub fn owner_of(pod: &Pod) -> Option<&str> {
    meta::controller_of(&pod.metadata).map(|owner| owner.uid.as_str())
}

/// True when no budget can tell one from the other.
pub fn counts_the_same(one: &Pod, other: &Pod) -> bool {
    one.metadata.uid == other.metadata.uid
        && meta::is_terminating(&one.metadata) == meta::is_terminating(&other.metadata)
        && model::pod::is_ready(one) == model::pod::is_ready(other)
        && owner_of(one) == owner_of(other)
}
