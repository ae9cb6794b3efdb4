//! What the controller knows: namespaces that are being deleted, and when it last looked into each.
//!
//! What is in a namespace is not kept here: it is looked up when it matters. The view decides nothing;
//! [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Namespace;
use model::meta;

use crate::barrier::{Barrier, Horizon};
use crate::runner::ObjectKey;

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To namespaces.
    Namespaces(Change<Namespace>),
    /// Something in a namespace that was waited for has gone.
    LookAgain(ObjectKey),
}

/// A namespace that is being deleted.
#[derive(Debug)]
pub struct Entry {
    /// The namespace.
    pub namespace: Arc<Namespace>,
    /// When it was last looked into; `None` when there is reason to look at once.
    pub looked: Option<Timestamp>,
}

/// The namespaces that are being deleted.
#[derive(Debug, Default)]
pub struct View {
    terminating: BTreeMap<ObjectKey, Entry>,
    horizon: Horizon,
}

impl View {
    /// Applies an event and says which namespaces it touches.
    pub fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        match event {
            Event::LookAgain(key) => {
                if let Some(entry) = self.terminating.get_mut(&key) {
                    entry.looked = None;
                    touched.insert(key);
                }
            }
            Event::Namespaces(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(namespaces, _) => {
                        self.terminating.clear();
                        for namespace in namespaces {
                            self.put(namespace, &mut touched);
                        }
                    }
                    Change::Apply(namespace) => self.put(namespace, &mut touched),
                    Change::Delete(namespace) => {
                        self.terminating.remove(&ObjectKey::of(&*namespace));
                    }
                }
            }
        }
        touched
    }

    fn put(&mut self, namespace: Arc<Namespace>, touched: &mut BTreeSet<ObjectKey>) {
        if !meta::is_terminating(&namespace.metadata) {
            return;
        }
        let key = ObjectKey::of(&*namespace);
        let looked = self.terminating.get(&key).and_then(|entry| entry.looked);
        self.terminating.insert(key.clone(), Entry { namespace, looked });
        touched.insert(key);
    }

    /// True when the first picture has arrived.
    pub fn is_synced(&self) -> bool {
        self.horizon.knows(Namespace::URL_PATH_SEGMENT)
    }

    /// Drops from a barrier what the view has seen.
    pub fn lift(&self, barrier: &mut Barrier) -> bool {
        barrier.lift(&self.horizon, |removed| {
            let entry = self.terminating.get(&ObjectKey::new("", &*removed.name));
            entry.is_none_or(|entry| entry.namespace.metadata.uid.as_deref() != Some(&removed.uid))
        })
    }

    /// A namespace that is being deleted.
    pub fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Entry> {
        self.terminating.get_mut(key)
    }
}
