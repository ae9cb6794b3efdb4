//! What is known: the services and endpoints that names are made of.
//!
//! Fed by `apply` and `delete`; a change costs what it touches. It must never answer from anything but what
//! was applied last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, RwLock};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The zone as the feed and the server share it. Locked for the length of one lookup or one change.
pub type SharedZone = Arc<RwLock<Zone>>;

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A named port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// Name, in lower case.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Number.
    pub port: u16,
}

/// What a service's own name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// To its cluster addresses.
    ClusterIp(Vec<IpAddr>),
    /// To its ready endpoints.
    Headless,
    /// To another name.
    External(String),
}

/// One service.
#[derive(Debug, Clone)]
pub struct ServiceEntry {
    /// What its name leads to.
    pub kind: ServiceKind,
    /// Its named ports, of cluster services only: a headless one's come from its endpoints.
    pub ports: Vec<NamedPort>,
}

/// One ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its label below the service's name: its host name, or its address with dashes.
    pub label: String,
    /// Its address.
    pub address: IpAddr,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

/// Services and endpoints of the whole cluster.
#[derive(Debug, Default)]
pub struct Zone {
    services: HashMap<Key, ServiceEntry>,
    /// How many services a namespace has: a namespace with none does not exist for DNS.
    namespaces: HashMap<String, usize>,
    /// Ready endpoints of each slice, with the service that they belong to.
    slices: HashMap<Key, (Key, Vec<Endpoint>)>,
    /// The slices of each service, in a stable order.
    slices_of: HashMap<Key, BTreeMap<String, ()>>,
    /// Services by cluster address; addresses are unique.
    by_cluster_ip: HashMap<IpAddr, Key>,
    /// Slices that have a ready endpoint at an address.
    by_endpoint_ip: HashMap<IpAddr, HashSet<Key>>,
}

impl Zone {
    /// Forgets everything about services and takes these instead.
    pub fn reset_services<'a>(&mut self, services: impl Iterator<Item = &'a Service>) {
        self.services.clear();
        self.namespaces.clear();
        self.by_cluster_ip.clear();
        services.for_each(|service| self.apply_service(service));
    }

    /// Forgets everything about endpoints and takes these instead.
    pub fn reset_slices<'a>(&mut self, slices: impl Iterator<Item = &'a EndpointSlice>) {
        self.slices.clear();
        self.slices_of.clear();
        self.by_endpoint_ip.clear();
        slices.for_each(|slice| self.apply_slice(slice));
    }

    /// Takes a new or changed service.
    pub fn apply_service(&mut self, service: &Service) {
        self.delete_service(service);
        let key = key_of(&service.metadata);
        let Some(entry) = service_entry(service) else { return };
        if let ServiceKind::ClusterIp(addresses) = &entry.kind {
            for address in addresses {
                self.by_cluster_ip.insert(*address, key.clone());
            }
        }
        *self.namespaces.entry(key.namespace.clone()).or_default() += 1;
        self.services.insert(key, entry);
    }

    /// Forgets a service.
    pub fn delete_service(&mut self, service: &Service) {
        let key = key_of(&service.metadata);
        let Some(entry) = self.services.remove(&key) else { return };
        if let ServiceKind::ClusterIp(addresses) = &entry.kind {
            for address in addresses {
                self.by_cluster_ip.remove(address);
            }
        }
        if let Some(count) = self.namespaces.get_mut(&key.namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
    }

    /// Takes a new or changed slice.
    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        self.delete_slice(slice);
        let key = key_of(&slice.metadata);
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) else { return };
        let service = Key { namespace: key.namespace.clone(), name: service.clone() };
        let endpoints = ready_endpoints(slice);
        for endpoint in &endpoints {
            self.by_endpoint_ip.entry(endpoint.address).or_default().insert(key.clone());
        }
        self.slices_of.entry(service.clone()).or_default().insert(key.name.clone(), ());
        self.slices.insert(key, (service, endpoints));
    }

    /// Forgets a slice.
    pub fn delete_slice(&mut self, slice: &EndpointSlice) {
        let key = key_of(&slice.metadata);
        let Some((service, endpoints)) = self.slices.remove(&key) else { return };
        for endpoint in &endpoints {
            if let Some(slices) = self.by_endpoint_ip.get_mut(&endpoint.address) {
                slices.remove(&key);
                if slices.is_empty() {
                    self.by_endpoint_ip.remove(&endpoint.address);
                }
            }
        }
        if let Some(names) = self.slices_of.get_mut(&service) {
            names.remove(&key.name);
            if names.is_empty() {
                self.slices_of.remove(&service);
            }
        }
    }

    /// A service, if there is one.
    pub fn service(&self, key: &Key) -> Option<&ServiceEntry> {
        self.services.get(key)
    }

    /// True when a namespace has a service.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// The ready endpoints of a service, in a stable order.
    pub fn endpoints(&self, service: &Key) -> impl Iterator<Item = &Endpoint> {
        let names = self.slices_of.get(service).into_iter().flat_map(BTreeMap::keys);
        let namespace = service.namespace.clone();
        names
            .filter_map(move |name| {
                self.slices.get(&Key { namespace: namespace.clone(), name: name.clone() })
            })
            .flat_map(|(_, endpoints)| endpoints)
    }

    /// The service that has this cluster address.
    pub fn service_at(&self, address: IpAddr) -> Option<&Key> {
        self.by_cluster_ip.get(&address)
    }

    /// The headless services' ready endpoints at this address: label and service of each.
    pub fn endpoints_at(&self, address: IpAddr) -> Vec<(String, Key)> {
        let mut found: Vec<(String, Key)> = self
            .by_endpoint_ip
            .get(&address)
            .into_iter()
            .flatten()
            .filter_map(|slice| self.slices.get(slice))
            .filter(|(service, _)| {
                self.services.get(service).is_some_and(|entry| entry.kind == ServiceKind::Headless)
            })
            .flat_map(|(service, endpoints)| {
                let here = endpoints.iter().filter(|endpoint| endpoint.address == address);
                here.map(|endpoint| (endpoint.label.clone(), service.clone()))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

fn key_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Key {
    Key {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn service_entry(service: &Service) -> Option<ServiceEntry> {
    let spec = service.spec.as_ref()?;
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        ServiceKind::External(spec.external_name.clone()?)
    } else {
        let all = spec.cluster_ips.clone().unwrap_or_default();
        let texts = if all.is_empty() { spec.cluster_ip.iter().cloned().collect() } else { all };
        if texts.iter().any(|text| text == "None") {
            ServiceKind::Headless
        } else {
            ServiceKind::ClusterIp(texts.iter().filter_map(|text| text.parse().ok()).collect())
        }
    };
    let ports = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|port| named_port(port.name.as_deref(), port.protocol.as_deref(), Some(port.port)));
    Some(ServiceEntry { kind, ports: ports.collect() })
}

fn ready_endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports: Vec<NamedPort> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| named_port(port.name.as_deref(), port.protocol.as_deref(), port.port))
        .collect();
    let mut ready = Vec::new();
    for endpoint in slice.endpoints.iter().flatten() {
        // An endpoint that does not say is ready (discovery/v1, `EndpointConditions.ready`).
        let conditions = endpoint.conditions.as_ref();
        if conditions.and_then(|conditions| conditions.ready) == Some(false) {
            continue;
        }
        for address in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
            let label = match endpoint.hostname.as_deref() {
                Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
                _ => dashed(address),
            };
            ready.push(Endpoint { label, address, ports: ports.clone() });
        }
    }
    ready
}

fn named_port(name: Option<&str>, protocol: Option<&str>, port: Option<i32>) -> Option<NamedPort> {
    let name = name.filter(|name| !name.is_empty())?;
    Some(NamedPort {
        name: name.to_ascii_lowercase(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
        port: u16::try_from(port?).ok()?,
    })
}

/// An address as a label: `10-0-0-1`.
pub fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}
