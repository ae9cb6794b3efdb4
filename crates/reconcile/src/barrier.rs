//! Read your own writes: after a write, a controller does not decide again about that object until its view
//! has seen the write. A late view may delay an action, it must never cause a second one.
//!
//! An execution notes what it wrote in a [`Barrier`]; a view keeps a [`Horizon`], the newest revision that
//! it has seen of each kind. One store has one counter and a watch tells changes in their order, so that a
//! kind's newest revision says for each older write of that kind that it was seen too.

use std::collections::BTreeMap;

use client::{Change, Typed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::encoded::Revision;

/// An object that a write removed, so that no revision tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Plural name of its kind.
    pub resource: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: another object of that name is not meant.
    pub uid: String,
}

/// What a view must have seen before the next decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Barrier {
    revisions: BTreeMap<&'static str, Revision>,
    removed: Vec<Removed>,
}

impl Barrier {
    /// Notes that an object was written; `object` is what the API answered.
    pub fn wrote<K: Typed>(&mut self, object: &K) {
        self.wrote_at(K::URL_PATH_SEGMENT, revision_of(object.metadata()));
    }

    /// Notes a write of a kind by its revision.
    pub fn wrote_at(&mut self, resource: &'static str, revision: Revision) {
        let newest = self.revisions.entry(resource).or_default();
        *newest = revision.max(*newest);
    }

    /// Notes that an object was removed for good.
    pub fn removed(&mut self, removed: Removed) {
        self.removed.push(removed);
    }

    /// Notes all that another barrier notes.
    pub fn merge(&mut self, other: Barrier) {
        for (resource, revision) in other.revisions {
            self.wrote_at(resource, revision);
        }
        self.removed.extend(other.removed);
    }

    /// True when there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.revisions.is_empty() && self.removed.is_empty()
    }

    /// Drops what has been seen; true when nothing is left. `is_gone` tells whether a removed object has
    /// left the view.
    pub fn lift(&mut self, horizon: &Horizon, is_gone: impl Fn(&Removed) -> bool) -> bool {
        self.revisions.retain(|resource, revision| horizon.seen(resource) < *revision);
        self.removed.retain(|removed| !is_gone(removed));
        self.is_empty()
    }
}

/// The newest revision that a view has seen of each kind.
#[derive(Debug, Clone, Default)]
pub struct Horizon {
    newest: BTreeMap<&'static str, Revision>,
}

impl Horizon {
    /// Notes a change before the view applies it.
    pub fn observe<K: Typed>(&mut self, change: &Change<K>) {
        let revision = match change {
            Change::Reset(_, revision) => *revision,
            Change::Apply(object) | Change::Delete(object) => revision_of(object.metadata()),
        };
        self.observe_at(K::URL_PATH_SEGMENT, revision);
    }

    /// Notes a revision of a kind, for views of kinds that are not known when the program is built.
    pub fn observe_at(&mut self, resource: &'static str, revision: Revision) {
        let newest = self.newest.entry(resource).or_default();
        *newest = revision.max(*newest);
    }

    /// The newest revision seen of a kind; zero before its first change.
    pub fn seen(&self, resource: &str) -> Revision {
        self.newest.get(resource).copied().unwrap_or_default()
    }

    /// True when a kind's first picture has arrived.
    pub fn knows(&self, resource: &str) -> bool {
        self.newest.contains_key(resource)
    }
}

/// The revision that wrote an object; zero where it carries none that is a number.
pub fn revision_of(metadata: &ObjectMeta) -> Revision {
    let text = metadata.resource_version.as_deref().unwrap_or_default();
    Revision(text.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use std::sync::Arc;

    fn pod(revision: u64) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.resource_version = Some(revision.to_string());
        pod
    }

    #[test]
    fn a_barrier_is_lifted_by_the_newest_write_of_each_kind() {
        let (mut barrier, mut horizon) = (Barrier::default(), Horizon::default());
        barrier.wrote(&pod(7));
        barrier.wrote(&pod(5));
        horizon.observe(&Change::Apply(Arc::new(pod(6))));
        assert!(!barrier.lift(&horizon, |_| true));
        horizon.observe(&Change::Apply(Arc::new(pod(7))));
        assert!(barrier.lift(&horizon, |_| true));
    }

    #[test]
    fn a_removed_object_must_have_left_the_view() {
        let mut barrier = Barrier::default();
        let removed = Removed {
            resource: "pods",
            namespace: "default".to_owned(),
            name: "web-0".to_owned(),
            uid: "1".to_owned(),
        };
        barrier.removed(removed);
        assert!(!barrier.lift(&Horizon::default(), |_| false));
        assert!(barrier.lift(&Horizon::default(), |removed| removed.uid == "1"));
    }
}
