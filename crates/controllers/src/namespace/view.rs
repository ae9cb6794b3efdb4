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

use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

/// The kinds that this view shows.
const KINDS: &[&str] = &[Namespace::URL_PATH_SEGMENT];

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

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
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

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    fn is_gone(&self, removed: &Removed) -> bool {
        let entry = self.terminating.get(&ObjectKey::new("", &*removed.name));
        entry.is_none_or(|entry| entry.namespace.metadata.uid.as_deref() != Some(&removed.uid))
    }
}

impl View {
    fn put(&mut self, namespace: Arc<Namespace>, touched: &mut BTreeSet<ObjectKey>) {
        if !meta::is_terminating(&namespace.metadata) {
            return;
        }
        let key = ObjectKey::of(&*namespace);
        let looked = self.terminating.get(&key).and_then(|entry| entry.looked);
        self.terminating.insert(key.clone(), Entry { namespace, looked });
        touched.insert(key);
    }

    /// A namespace that is being deleted.
    pub fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Entry> {
        self.terminating.get_mut(key)
    }
}
