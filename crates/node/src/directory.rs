//! Which instance each container of each pod has now: what the gateway looks up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use runtime::api::ContainerId;

/// The newest instance of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The runtime's name for it.
    pub id: ContainerId,
    /// Its restart count.
    pub attempt: u32,
    /// It has not ended.
    pub running: bool,
    /// The restart count of its former life: the instance before, or this one when it is over and another is
    /// to follow, as the status then shows it (`lastState`).
    pub former: Option<u32>,
}

/// Containers by the uid of their pod and their name. Written by the agent's loop, read by anybody.
#[derive(Debug, Default)]
pub struct Directory {
    pods: Mutex<HashMap<String, BTreeMap<String, Entry>>>,
}

impl Directory {
    /// Sets what a pod has.
    pub fn set(&self, uid: &str, containers: BTreeMap<String, Entry>) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.insert(uid.to_owned(), containers);
    }

    /// Forgets a pod.
    pub fn remove(&self, uid: &str) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// A container's newest instance.
    pub fn find(&self, uid: &str, container: &str) -> Option<Entry> {
        let pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.get(uid)?.get(container).cloned()
    }

    /// True if the agent has the pod.
    pub fn knows(&self, uid: &str) -> bool {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).contains_key(uid)
    }
}
