//! What the controller knows: services and the pods each selects, slices and Endpoints.
//!
//! Membership is kept, not searched for: a service is found from a pod through one pair of its selector, and
//! holds the names of the pods that it selects. Of a pod only what endpoints are made of counts: a change
//! of anything else touches no service. The view decides nothing; [`super::plan`] does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::Change;
use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::meta;

use super::{SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL, SLICES_MANAGER};
use reconcile::barrier::{Horizon, Removed};
use reconcile::picture::Picture;
use reconcile::runner::ObjectKey;

type Labels = BTreeMap<String, String>;
type ByName<T> = BTreeMap<String, T>;

/// A pod as an endpoint.
#[derive(Debug, Clone)]
pub struct PodEntry {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its address; empty while it has none.
    pub address: String,
    /// True when its condition `Ready` is `True`.
    pub is_ready: bool,
    /// True when its deletion was asked for.
    pub is_terminating: bool,
    /// True when it has ended for good.
    pub is_over: bool,
}

impl PodEntry {
    fn new(pod: Arc<Pod>) -> PodEntry {
        let status = pod.status.as_ref();
        let address = status.and_then(|status| status.pod_ip.clone()).unwrap_or_default();
        PodEntry {
            address,
            is_ready: model::pod::is_ready(&pod),
            is_terminating: meta::is_terminating(&pod.metadata),
            is_over: model::pod::is_failed_or_succeeded(&pod),
            pod,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its node; `None` while it has none.
    pub fn node(&self) -> Option<&str> {
        model::pod::node_name(&self.pod)
    }

    /// The name it has under this service, which must be the subdomain it asks for.
    pub fn hostname(&self, service: &str) -> Option<&str> {
        let spec = self.pod.spec.as_ref()?;
        let hostname = spec.hostname.as_deref().filter(|hostname| !hostname.is_empty())?;
        (spec.subdomain.as_deref() == Some(service)).then_some(hostname)
    }

    /// True when it makes the same endpoint. What never changes in a pod is covered by its uid.
    fn same_endpoint(&self, other: &PodEntry) -> bool {
        self.uid() == other.uid()
            && self.address == other.address
            && self.node() == other.node()
            && self.is_ready == other.is_ready
            && self.is_terminating == other.is_terminating
            && self.is_over == other.is_over
    }

    fn labels(&self) -> Option<&Labels> {
        self.pod.metadata.labels.as_ref()
    }
}

/// A service and the pods that it selects.
#[derive(Debug)]
pub struct ServiceEntry {
    /// The service.
    pub service: Arc<Service>,
    /// Names of the pods that it selects.
    pub members: BTreeSet<String>,
    /// When its Endpoints were last sent; unknown after a restart.
    pub endpoints_sent: Option<Timestamp>,
}

impl ServiceEntry {
    /// The selector of a service whose endpoints are this controller's work.
    pub fn selector(&self) -> Option<&Labels> {
        selector_of(&self.service)
    }
}

/// The selector that a service's endpoints follow: none where they are somebody else's, and none for a
/// service that is only an alias.
pub fn selector_of(service: &Service) -> Option<&Labels> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector.as_ref().filter(|selector| !selector.is_empty())
}

fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Everything of one namespace.
#[derive(Debug, Default)]
struct Namespace {
    services: ByName<ServiceEntry>,
    /// Services by the first pair of their selector.
    by_pair: HashMap<(String, String), BTreeSet<String>>,
    pods: ByName<PodEntry>,
    /// Slices by their service and then their name.
    slices: ByName<ByName<Arc<EndpointSlice>>>,
    endpoints: ByName<Arc<Endpoints>>,
}

impl Namespace {
    fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.pods.is_empty()
            && self.slices.is_empty()
            && self.endpoints.is_empty()
    }

    /// The services that select these labels.
    fn selecting(&self, labels: Option<&Labels>) -> Vec<String> {
        let Some(labels) = labels else { return Vec::new() };
        let candidates =
            labels.iter().filter_map(|(key, value)| self.by_pair.get(&(key.clone(), value.clone())));
        candidates
            .flatten()
            .filter(|name| {
                let selector = self.services.get(*name).and_then(ServiceEntry::selector);
                selector.is_some_and(|selector| selects(selector, labels))
            })
            .cloned()
            .collect()
    }

    fn put_service(&mut self, name: &str, service: Arc<Service>) {
        let before = self.services.remove(name);
        let is_same = before.as_ref().is_some_and(|before| before.selector() == selector_of(&service));
        if let Some(before) = before {
            if is_same {
                let entry = ServiceEntry { service, ..before };
                self.services.insert(name.to_owned(), entry);
                return;
            }
            self.unindex(name, &before);
        }
        let mut members = BTreeSet::new();
        if let Some(selector) = selector_of(&service) {
            let pair = selector.first_key_value().map(|(key, value)| (key.clone(), value.clone()));
            if let Some(pair) = pair {
                self.by_pair.entry(pair).or_default().insert(name.to_owned());
            }
            let selected = self
                .pods
                .iter()
                .filter(|(_, pod)| pod.labels().is_some_and(|labels| selects(selector, labels)));
            members.extend(selected.map(|(name, _)| name.clone()));
        }
        let entry = ServiceEntry { service, members, endpoints_sent: None };
        self.services.insert(name.to_owned(), entry);
    }

    fn remove_service(&mut self, name: &str) {
        if let Some(entry) = self.services.remove(name) {
            self.unindex(name, &entry);
        }
    }

    fn unindex(&mut self, name: &str, entry: &ServiceEntry) {
        let Some((key, value)) = entry.selector().and_then(|selector| selector.first_key_value()) else {
            return;
        };
        let pair = (key.clone(), value.clone());
        if let Some(names) = self.by_pair.get_mut(&pair) {
            names.remove(name);
            if names.is_empty() {
                self.by_pair.remove(&pair);
            }
        }
    }

    /// Takes a pod in, or out with `None`, and returns the services for which that makes a difference.
    fn put_pod(&mut self, name: &str, pod: Option<PodEntry>) -> BTreeSet<String> {
        let before = self.pods.remove(name);
        let left: BTreeSet<String> = match &before {
            Some(before) => self.selecting(before.labels()).into_iter().collect(),
            None => BTreeSet::new(),
        };
        let joined: BTreeSet<String> = match &pod {
            Some(pod) => self.selecting(pod.labels()).into_iter().collect(),
            None => BTreeSet::new(),
        };
        for service in left.difference(&joined) {
            if let Some(entry) = self.services.get_mut(service) {
                entry.members.remove(name);
            }
        }
        for service in joined.difference(&left) {
            if let Some(entry) = self.services.get_mut(service) {
                entry.members.insert(name.to_owned());
            }
        }
        let is_same = before.zip(pod.as_ref()).is_some_and(|(before, pod)| before.same_endpoint(pod));
        if let Some(pod) = pod {
            self.pods.insert(name.to_owned(), pod);
        }
        if is_same {
            return left.symmetric_difference(&joined).cloned().collect();
        }
        left.union(&joined).cloned().collect()
    }
}

/// The kinds that this view shows.
const KINDS: &[&str] = &[
    Service::URL_PATH_SEGMENT,
    Pod::URL_PATH_SEGMENT,
    EndpointSlice::URL_PATH_SEGMENT,
    Endpoints::URL_PATH_SEGMENT,
];

/// Everything that can happen to the view.
#[derive(Debug, Clone)]
pub enum Event {
    /// To services.
    Services(Change<Service>),
    /// To pods.
    Pods(Change<Pod>),
    /// To slices.
    Slices(Change<EndpointSlice>),
    /// To Endpoints.
    Endpoints(Change<Endpoints>),
}

/// The picture of the cluster as far as this controller needs it.
#[derive(Debug, Default)]
pub struct View {
    namespaces: HashMap<String, Namespace>,
    horizon: Horizon,
}

/// Which services an event touched.
pub type Touched = BTreeSet<ObjectKey>;

impl Picture for View {
    type Key = ObjectKey;
    type Event = Event;

    fn apply(&mut self, event: Event) -> BTreeSet<ObjectKey> {
        let mut touched = Touched::new();
        match event {
            Event::Services(change) => self.apply_services(change, &mut touched),
            Event::Pods(change) => self.apply_pods(change, &mut touched),
            Event::Slices(change) => self.apply_slices(change, &mut touched),
            Event::Endpoints(change) => self.apply_endpoints(change, &mut touched),
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
        let Removed { resource, namespace, name, uid } = removed;
        let Some(all) = self.namespaces.get(namespace) else { return true };
        let metadata = if *resource == Endpoints::URL_PATH_SEGMENT {
            all.endpoints.get(name).map(|endpoints| &endpoints.metadata)
        } else {
            all.slices.values().find_map(|slices| slices.get(name)).map(|slice| &slice.metadata)
        };
        metadata.is_none_or(|metadata| metadata.uid.as_deref() != Some(uid) || meta::is_terminating(metadata))
    }
}

impl View {
    fn apply_services(&mut self, change: Change<Service>, touched: &mut Touched) {
        self.horizon.observe(&change);
        match change {
            Change::Reset(services, _) => {
                let mut gone: BTreeSet<ObjectKey> = self.keys(|all| all.services.keys());
                // Endpoints that were left behind while nobody looked are found by their own key.
                touched.extend(self.keys(|all| all.endpoints.keys()));
                for service in services {
                    let key = ObjectKey::of(&*service);
                    gone.remove(&key);
                    self.at(&key.namespace).put_service(&key.name, service);
                    touched.insert(key);
                }
                for key in gone {
                    self.at(&key.namespace).remove_service(&key.name);
                    touched.insert(key);
                }
            }
            Change::Apply(service) => {
                let key = ObjectKey::of(&*service);
                self.at(&key.namespace).put_service(&key.name, service);
                touched.insert(key);
            }
            Change::Delete(service) => {
                let key = ObjectKey::of(&*service);
                self.at(&key.namespace).remove_service(&key.name);
                self.drop_if_empty(&key.namespace);
                touched.insert(key);
            }
        }
    }

    fn apply_pods(&mut self, change: Change<Pod>, touched: &mut Touched) {
        self.horizon.observe(&change);
        match change {
            Change::Reset(pods, _) => {
                let mut gone: BTreeSet<ObjectKey> = self.keys(|all| all.pods.keys());
                for pod in pods {
                    let key = ObjectKey::of(&*pod);
                    gone.remove(&key);
                    self.put_pod(&key, Some(PodEntry::new(pod)), touched);
                }
                for key in gone {
                    self.put_pod(&key, None, touched);
                }
            }
            Change::Apply(pod) => {
                self.put_pod(&ObjectKey::of(&*pod), Some(PodEntry::new(pod)), touched);
            }
            Change::Delete(pod) => self.put_pod(&ObjectKey::of(&*pod), None, touched),
        }
    }

    fn put_pod(&mut self, key: &ObjectKey, pod: Option<PodEntry>, touched: &mut Touched) {
        let services = self.at(&key.namespace).put_pod(&key.name, pod);
        touched.extend(services.into_iter().map(|name| ObjectKey::new(&key.namespace, name)));
        self.drop_if_empty(&key.namespace);
    }

    fn apply_slices(&mut self, change: Change<EndpointSlice>, touched: &mut Touched) {
        self.horizon.observe(&change);
        match change {
            Change::Reset(slices, _) => {
                touched.extend(self.keys(|all| all.services.keys()));
                self.namespaces.values_mut().for_each(|all| all.slices.clear());
                for slice in slices {
                    self.put_slice(slice, touched);
                }
            }
            Change::Apply(slice) => self.put_slice(slice, touched),
            Change::Delete(slice) => self.remove_slice(&slice, touched),
        }
    }

    fn put_slice(&mut self, slice: Arc<EndpointSlice>, touched: &mut Touched) {
        self.remove_slice(&slice, touched);
        let Some(service) = service_of(&slice.metadata).map(str::to_owned) else { return };
        let key = ObjectKey::of(&*slice);
        touched.insert(ObjectKey::new(&key.namespace, &service));
        self.at(&key.namespace).slices.entry(service).or_default().insert(key.name, slice);
    }

    /// Takes a slice out of wherever it is: its labels may have changed.
    fn remove_slice(&mut self, slice: &EndpointSlice, touched: &mut Touched) {
        let key = ObjectKey::of(slice);
        let all = self.at(&key.namespace);
        let holders: Vec<String> = match service_of(&slice.metadata) {
            Some(service) if all.slices.get(service).is_some_and(|names| names.contains_key(&key.name)) => {
                vec![service.to_owned()]
            }
            _ => {
                let holders = all.slices.iter().filter(|(_, names)| names.contains_key(&key.name));
                holders.map(|(service, _)| service.clone()).collect()
            }
        };
        for service in holders {
            if let Some(names) = all.slices.get_mut(&service) {
                names.remove(&key.name);
                if names.is_empty() {
                    all.slices.remove(&service);
                }
            }
            touched.insert(ObjectKey::new(&key.namespace, service));
        }
        self.drop_if_empty(&key.namespace);
    }

    fn apply_endpoints(&mut self, change: Change<Endpoints>, touched: &mut Touched) {
        self.horizon.observe(&change);
        match change {
            Change::Reset(all, _) => {
                touched.extend(self.keys(|all| all.services.keys()));
                self.namespaces.values_mut().for_each(|all| all.endpoints.clear());
                for endpoints in all {
                    let key = ObjectKey::of(&*endpoints);
                    self.at(&key.namespace).endpoints.insert(key.name.clone(), endpoints);
                    touched.insert(key);
                }
            }
            Change::Apply(endpoints) => {
                let key = ObjectKey::of(&*endpoints);
                self.at(&key.namespace).endpoints.insert(key.name.clone(), endpoints);
                touched.insert(key);
            }
            Change::Delete(endpoints) => {
                let key = ObjectKey::of(&*endpoints);
                self.at(&key.namespace).endpoints.remove(&key.name);
                self.drop_if_empty(&key.namespace);
                touched.insert(key);
            }
        }
    }

    /// A service; `None` when it is gone.
    pub fn service(&self, key: &ObjectKey) -> Option<&ServiceEntry> {
        self.namespaces.get(&key.namespace)?.services.get(&key.name)
    }

    /// The pods that a service selects, in the order of their names.
    pub fn members<'a>(
        &'a self,
        key: &ObjectKey,
        entry: &'a ServiceEntry,
    ) -> impl Iterator<Item = &'a PodEntry> {
        let all = self.namespaces.get(&key.namespace);
        entry.members.iter().filter_map(move |name| all?.pods.get(name))
    }

    /// The slices of a service that are this controller's, in the order of their names.
    pub fn slices(&self, key: &ObjectKey) -> Vec<&EndpointSlice> {
        let all = self.namespaces.get(&key.namespace);
        let slices = all.and_then(|all| all.slices.get(&key.name));
        slices.into_iter().flat_map(BTreeMap::values).map(|slice| &**slice).collect()
    }

    /// The Endpoints of this name.
    pub fn endpoints(&self, key: &ObjectKey) -> Option<&Endpoints> {
        self.namespaces.get(&key.namespace)?.endpoints.get(&key.name).map(|endpoints| &**endpoints)
    }

    /// Notes that a service's Endpoints are on their way.
    pub fn endpoints_sent(&mut self, key: &ObjectKey, now: Timestamp) {
        let all = self.namespaces.get_mut(&key.namespace);
        if let Some(entry) = all.and_then(|all| all.services.get_mut(&key.name)) {
            entry.endpoints_sent = Some(now);
        }
    }

    fn at(&mut self, namespace: &str) -> &mut Namespace {
        if !self.namespaces.contains_key(namespace) {
            self.namespaces.insert(namespace.to_owned(), Namespace::default());
        }
        self.namespaces.get_mut(namespace).expect("was there or was just made")
    }

    fn drop_if_empty(&mut self, namespace: &str) {
        if self.namespaces.get(namespace).is_some_and(Namespace::is_empty) {
            self.namespaces.remove(namespace);
        }
    }

    fn keys<'a, I: Iterator<Item = &'a String>>(&'a self, of: impl Fn(&'a Namespace) -> I) -> Touched {
        let each = self.namespaces.iter();
        each.flat_map(|(namespace, all)| of(all).map(move |name| ObjectKey::new(namespace, name))).collect()
    }
}

/// The service of a slice that is this controller's.
fn service_of(metadata: &ObjectMeta) -> Option<&str> {
    let labels = metadata.labels.as_ref()?;
    let is_ours = labels.get(SLICE_MANAGED_BY_LABEL).is_some_and(|manager| manager == SLICES_MANAGER);
    labels.get(SERVICE_NAME_LABEL).filter(|_| is_ours).map(String::as_str)
}
