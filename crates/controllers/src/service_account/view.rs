//! What the controller knows: namespaces that stay, and which of them have their account and their map.
//!
//! The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use client::{Change, Typed};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use model::meta;

use super::{ACCOUNT, ROOT_CA};
use reconcile::barrier::Horizon;
use reconcile::picture::Picture;

/// The kinds that this view shows.
const KINDS: &[&str] =
    &[Namespace::URL_PATH_SEGMENT, ServiceAccount::URL_PATH_SEGMENT, ConfigMap::URL_PATH_SEGMENT];

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To namespaces.
    Namespaces(Change<Namespace>),
    /// To accounts called `default`.
    Accounts(Change<ServiceAccount>),
    /// To maps called `kube-root-ca.crt`.
    Maps(Change<ConfigMap>),
}

/// Objects of one name, by their namespace.
type ByNamespace<K> = BTreeMap<String, Arc<K>>;

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    namespaces: ByNamespace<Namespace>,
    accounts: ByNamespace<ServiceAccount>,
    maps: ByNamespace<ConfigMap>,
    horizon: Horizon,
}

impl Picture for View {
    type Key = String;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<String> {
        let View { namespaces, accounts, maps, horizon } = self;
        match event {
            Event::Namespaces(change) => {
                horizon.observe(&change);
                put(namespaces, change, |namespace: &Namespace| namespace.metadata.name.as_deref())
            }
            Event::Accounts(change) => {
                horizon.observe(&change);
                put(accounts, change, |account: &ServiceAccount| {
                    let is_it = account.metadata.name.as_deref() == Some(ACCOUNT);
                    account.metadata.namespace.as_deref().filter(|_| is_it)
                })
            }
            Event::Maps(change) => {
                horizon.observe(&change);
                put(maps, change, |map: &ConfigMap| {
                    let is_it = map.metadata.name.as_deref() == Some(ROOT_CA);
                    map.metadata.namespace.as_deref().filter(|_| is_it)
                })
            }
        }
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }
}

impl View {
    /// True for a namespace that is there and stays.
    pub fn is_active(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|found| !meta::is_terminating(&found.metadata))
    }

    /// True when the namespace has its account.
    pub fn has_account(&self, namespace: &str) -> bool {
        self.accounts.contains_key(namespace)
    }

    /// The namespace's map.
    pub fn map(&self, namespace: &str) -> Option<&ConfigMap> {
        self.maps.get(namespace).map(|map| &**map)
    }
}

fn put<K: Typed>(
    all: &mut ByNamespace<K>,
    change: Change<K>,
    key: impl Fn(&K) -> Option<&str>,
) -> BTreeSet<String> {
    match change {
        Change::Reset(objects, _) => {
            let before: BTreeSet<String> = std::mem::take(all).into_keys().collect();
            let keyed = objects.into_iter().filter_map(|object| Some((key(&object)?.to_owned(), object)));
            all.extend(keyed);
            before.into_iter().chain(all.keys().cloned()).collect()
        }
        Change::Apply(object) => {
            let Some(namespace) = key(&object).map(str::to_owned) else { return BTreeSet::new() };
            all.insert(namespace.clone(), object);
            BTreeSet::from([namespace])
        }
        Change::Delete(object) => {
            let Some(namespace) = key(&object).map(str::to_owned) else { return BTreeSet::new() };
            all.remove(&namespace);
            BTreeSet::from([namespace])
        }
    }
}
