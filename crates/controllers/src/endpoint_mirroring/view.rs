//! What the controller knows: services without a selector, Endpoints, and its own slices by their service.
//!
//! The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::{Change, Typed};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::meta;
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

use super::SLICES_MANAGER;
use crate::endpoints::{SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL};

/// The kinds that this view shows.
const KINDS: &[&str] =
    &[Service::URL_PATH_SEGMENT, Endpoints::URL_PATH_SEGMENT, EndpointSlice::URL_PATH_SEGMENT];

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To services.
    Services(Change<Service>),
    /// To Endpoints.
    Endpoints(Change<Endpoints>),
    /// To slices of this controller.
    Slices(Change<EndpointSlice>),
}

type Touched = BTreeSet<ObjectKey>;

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    /// Services without a selector.
    services: HashMap<ObjectKey, Arc<Service>>,
    endpoints: HashMap<ObjectKey, Arc<Endpoints>>,
    /// Own slices by the service that they name.
    slices: HashMap<ObjectKey, BTreeMap<String, Arc<EndpointSlice>>>,
    horizon: Horizon,
}

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> Touched {
        match event {
            Event::Services(change) => {
                self.horizon.observe(&change);
                put(&mut self.services, change, has_no_selector)
            }
            Event::Endpoints(change) => {
                self.horizon.observe(&change);
                put(&mut self.endpoints, change, |_| true)
            }
            Event::Slices(change) => {
                self.horizon.observe(&change);
                self.apply_slices(change)
            }
        }
    }

    fn kinds(&self) -> &[&'static str] {
        KINDS
    }

    fn horizon(&self) -> &Horizon {
        &self.horizon
    }

    fn is_gone(&self, removed: &Removed) -> bool {
        let mut all = self.slices.iter().filter(|(key, _)| key.namespace == removed.namespace);
        let found = all.find_map(|(_, slices)| slices.get(&removed.name)).map(|slice| &slice.metadata);
        found.is_none_or(|found| found.uid.as_ref() != Some(&removed.uid) || meta::is_terminating(found))
    }
}

impl View {
    fn apply_slices(&mut self, change: Change<EndpointSlice>) -> Touched {
        match change {
            Change::Reset(slices, _) => {
                let mut touched: Touched = self.slices.drain().map(|(key, _)| key).collect();
                touched.extend(slices.into_iter().filter_map(|slice| self.put_slice(slice)));
                touched
            }
            Change::Apply(slice) => {
                let mut touched = self.remove_slice(&slice);
                touched.extend(self.put_slice(slice));
                touched
            }
            Change::Delete(slice) => self.remove_slice(&slice),
        }
    }

    fn put_slice(&mut self, slice: Arc<EndpointSlice>) -> Option<ObjectKey> {
        let labels = slice.metadata.labels.as_ref()?;
        if labels.get(SLICE_MANAGED_BY_LABEL).is_none_or(|manager| manager != SLICES_MANAGER) {
            return None;
        }
        let ObjectKey { namespace, name } = ObjectKey::of(&*slice);
        let service = ObjectKey::new(namespace, labels.get(SERVICE_NAME_LABEL)?);
        self.slices.entry(service.clone()).or_default().insert(name, slice);
        Some(service)
    }

    /// The slice may name another service by now than it did: few of them are this controller's, and they
    /// change seldom, so that looking through its namespace costs less than an index of them.
    fn remove_slice(&mut self, slice: &EndpointSlice) -> Touched {
        let ObjectKey { namespace, name } = ObjectKey::of(slice);
        let holders = self.slices.iter_mut().filter(|(key, _)| key.namespace == namespace);
        let touched: Touched =
            holders.filter_map(|(key, slices)| slices.remove(&name).map(|_| key.clone())).collect();
        for key in &touched {
            if self.slices.get(key).is_some_and(BTreeMap::is_empty) {
                self.slices.remove(key);
            }
        }
        touched
    }

    /// The Endpoints that are a service's own: of a service that is there and has no selector.
    pub fn endpoints(&self, key: &ObjectKey) -> Option<&Endpoints> {
        self.services.get(key)?;
        self.endpoints.get(key).map(|endpoints| &**endpoints)
    }

    /// The slices that mirror a service's Endpoints, in the order of their names.
    pub fn slices(&self, key: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).map(|slice| &**slice)
    }
}

fn has_no_selector(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).is_none_or(BTreeMap::is_empty)
}

fn put<K: Typed>(
    all: &mut HashMap<ObjectKey, Arc<K>>,
    change: Change<K>,
    is_kept: impl Fn(&K) -> bool,
) -> Touched {
    match change {
        Change::Reset(objects, _) => {
            let mut touched: Touched = all.drain().map(|(key, _)| key).collect();
            all.extend(objects.into_iter().filter(|one| is_kept(one)).map(|one| (ObjectKey::of(&*one), one)));
            touched.extend(all.keys().cloned());
            touched
        }
        Change::Apply(object) => {
            let key = ObjectKey::of(&*object);
            let is_known = all.remove(&key).is_some();
            if is_kept(&object) {
                all.insert(key.clone(), object);
            } else if !is_known {
                return Touched::new();
            }
            Touched::from([key])
        }
        Change::Delete(object) => {
            let key = ObjectKey::of(&*object);
            all.remove(&key).map(|_| key).into_iter().collect()
        }
    }
}
