//! What the controller knows: deployments, and the ReplicaSets that each manages or nobody does.
//!
//! A set is found by the uid of its deployment: a decision about one never looks at the sets of another.
//! The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::meta;
use model::selector::Selector;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use crate::owned_index::{Objects, OwnedIndex};

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To deployments.
    Deployments(Change<Deployment>),
    /// To sets.
    Sets(Change<ReplicaSet>),
}

#[derive(Debug)]
struct Entry {
    deployment: Arc<Deployment>,
    selector: Result<Selector, String>,
}

/// Sets by their names.
pub type Sets = Objects<ReplicaSet>;

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug)]
pub struct View {
    deployments: HashMap<String, BTreeMap<String, Entry>>,
    sets: OwnedIndex<ReplicaSet>,
    horizon: Horizon,
}

impl Default for View {
    fn default() -> View {
        let sets = OwnedIndex::new(Deployment::KIND, |_| true);
        View { deployments: HashMap::new(), sets, horizon: Horizon::default() }
    }
}

/// One deployment with everything a decision about it needs.
#[derive(Clone, Copy)]
pub struct DeploymentView<'a> {
    /// The deployment.
    pub deployment: &'a Arc<Deployment>,
    /// Its selector, or what is wrong with it.
    pub selector: &'a Result<Selector, String>,
    /// The sets it manages.
    pub sets: &'a Sets,
    /// The sets of its namespace that nobody manages.
    pub orphans: &'a Sets,
}

impl View {
    /// What there is to know about one deployment; `None` when it is gone.
    pub fn deployment(&self, key: &ObjectKey) -> Option<DeploymentView<'_>> {
        let entry = self.deployments.get(&key.namespace)?.get(&key.name)?;
        Some(DeploymentView {
            deployment: &entry.deployment,
            selector: &entry.selector,
            sets: self.sets.of(&entry.deployment.metadata),
            orphans: self.sets.orphans(&key.namespace),
        })
    }

    fn insert_deployment(&mut self, deployment: Arc<Deployment>, touched: &mut BTreeSet<ObjectKey>) {
        let key = ObjectKey::of(&*deployment);
        touched.insert(key.clone());
        let selector = Selector::from_label_selector(&deployment.spec.selector);
        self.deployments.entry(key.namespace).or_default().insert(key.name, Entry { deployment, selector });
    }

    fn remove_deployment(&mut self, key: &ObjectKey) {
        if let Some(all) = self.deployments.get_mut(&key.namespace) {
            all.remove(&key.name);
            if all.is_empty() {
                self.deployments.remove(&key.namespace);
            }
        }
    }

    fn insert_set(&mut self, set: Arc<ReplicaSet>, touched: &mut BTreeSet<ObjectKey>) {
        self.touch(&set.metadata, touched);
        self.sets.insert(set);
    }

    /// Takes a set out of the view, as it was last known.
    fn remove_set(&mut self, key: &ObjectKey, touched: &mut BTreeSet<ObjectKey>) {
        if let Some(known) = self.sets.remove(key) {
            self.touch(&known.metadata, touched);
        }
    }

    /// A set touches the deployment that manages it; one that nobody manages touches those that select it.
    fn touch(&self, metadata: &ObjectMeta, touched: &mut BTreeSet<ObjectKey>) {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let Some(deployments) = self.deployments.get(namespace) else { return };
        if let Some(owner) = meta::controller_of(metadata) {
            let known = deployments.get(&owner.name);
            if owner.kind == Deployment::KIND
                && known.is_some_and(|known| known.deployment.metadata.uid.as_ref() == Some(&owner.uid))
            {
                touched.insert(ObjectKey::new(namespace, &owner.name));
            }
            return;
        }
        let empty = BTreeMap::new();
        let labels = metadata.labels.as_ref().unwrap_or(&empty);
        for (name, entry) in deployments {
            if entry.selector.as_ref().is_ok_and(|selector| selector.matches(labels)) {
                touched.insert(ObjectKey::new(namespace, name));
            }
        }
    }

    fn touch_all(&self, touched: &mut BTreeSet<ObjectKey>) {
        for (namespace, deployments) in &self.deployments {
            touched.extend(deployments.keys().map(|name| ObjectKey::new(namespace, name)));
        }
    }
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[Deployment::URL_PATH_SEGMENT, ReplicaSet::URL_PATH_SEGMENT];

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        match event {
            Event::Deployments(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(all, _) => {
                        self.deployments.clear();
                        all.into_iter().for_each(|one| self.insert_deployment(one, &mut touched));
                    }
                    Change::Apply(one) => self.insert_deployment(one, &mut touched),
                    Change::Delete(one) => self.remove_deployment(&ObjectKey::of(&*one)),
                }
            }
            Event::Sets(change) => {
                self.horizon.observe(&change);
                match change {
                    Change::Reset(sets, _) => {
                        self.sets.reset(sets);
                        self.touch_all(&mut touched);
                    }
                    Change::Apply(set) => {
                        self.remove_set(&ObjectKey::of(&*set), &mut touched);
                        self.insert_set(set, &mut touched);
                    }
                    Change::Delete(set) => self.remove_set(&ObjectKey::of(&*set), &mut touched),
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
        self.sets.is_gone(removed)
    }
}
