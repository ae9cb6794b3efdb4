//! A resource of the API as controllers over every kind get to know it: by value, from the composition root.
//!
//! It carries names only. Read next: [`crate::garbage_collector`] and [`crate::namespace`], which need it.

use model::resource::{GroupVersionKind, GroupVersionResource};

/// One listable resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiResource {
    /// Its name in URLs.
    pub resource: GroupVersionResource,
    /// Its name in objects and in owner references.
    pub kind: GroupVersionKind,
    /// True when its objects live in namespaces.
    pub namespaced: bool,
}

impl ApiResource {
    /// True for events, in either group: they own nothing, nobody owns them, and they expire by themselves.
    pub fn is_event(&self) -> bool {
        self.kind.kind == "Event" && matches!(&*self.kind.group, "" | "events.k8s.io")
    }
}
