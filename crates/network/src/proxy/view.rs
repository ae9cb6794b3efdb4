//! What every service port should lead to.
//!
//! A change marks only its own service as changed; the rest is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Namespace and name.
pub type Key = (String, String);

/// Transport protocols that are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As nftables writes it.
    pub fn text(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    fn parse(text: Option<&str>) -> Option<Protocol> {
        match text {
            None | Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            // SCTP is not translated.
            Some(_) => None,
        }
    }
}

/// Where clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// Cluster address.
    pub address: Ipv4Addr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// Where they are led.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backends {
    /// Address and port of each, sorted. Empty: nobody is there, connections are refused.
    pub endpoints: BTreeSet<(Ipv4Addr, u16)>,
    /// One client is always led to the same endpoint while these stay (`sessionAffinity: ClientIP`).
    pub sticky: bool,
}

/// The ports of one service.
pub type ServiceRules = BTreeMap<Frontend, Backends>;

/// Services and endpoints of the whole cluster.
#[derive(Debug, Default)]
pub struct View {
    services: Option<HashMap<Key, Service>>,
    slices: Option<HashMap<Key, EndpointSlice>>,
    slices_of: HashMap<Key, BTreeSet<String>>,
    changed: BTreeSet<Key>,
}

impl View {
    /// True once both kinds have been read.
    pub fn is_complete(&self) -> bool {
        self.services.is_some() && self.slices.is_some()
    }

    /// Takes the services that changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.changed)
    }

    /// Every service there is.
    pub fn all(&self) -> BTreeSet<Key> {
        self.services.iter().flat_map(HashMap::keys).cloned().collect()
    }

    /// Forgets all services and takes these.
    pub fn reset_services<'a>(&mut self, services: impl Iterator<Item = &'a Service>) {
        let old = self.all();
        self.changed.extend(old);
        self.services = Some(HashMap::new());
        services.for_each(|service| self.apply_service(service));
    }

    /// Takes a new or changed service.
    pub fn apply_service(&mut self, service: &Service) {
        let key = key_of(&service.metadata);
        self.changed.insert(key.clone());
        self.services.get_or_insert_default().insert(key, service.clone());
    }

    /// Forgets a service.
    pub fn delete_service(&mut self, service: &Service) {
        let key = key_of(&service.metadata);
        self.services.get_or_insert_default().remove(&key);
        self.changed.insert(key);
    }

    /// Forgets all slices and takes these.
    pub fn reset_slices<'a>(&mut self, slices: impl Iterator<Item = &'a EndpointSlice>) {
        self.changed.extend(self.slices_of.keys().cloned());
        self.slices_of.clear();
        self.slices = Some(HashMap::new());
        slices.for_each(|slice| self.apply_slice(slice));
    }

    /// Takes a new or changed slice.
    pub fn apply_slice(&mut self, slice: &EndpointSlice) {
        let key = key_of(&slice.metadata);
        if let Some(service) = service_of(slice) {
            self.slices_of.entry(service.clone()).or_default().insert(key.1.clone());
            self.changed.insert(service);
        }
        self.slices.get_or_insert_default().insert(key, slice.clone());
    }

    /// Forgets a slice.
    pub fn delete_slice(&mut self, slice: &EndpointSlice) {
        let key = key_of(&slice.metadata);
        if let Some(service) = service_of(slice) {
            if let Some(names) = self.slices_of.get_mut(&service) {
                names.remove(&key.1);
                if names.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            self.changed.insert(service);
        }
        self.slices.get_or_insert_default().remove(&key);
    }

    /// What a service's ports should lead to; empty for one without a cluster address, or gone.
    pub fn rules(&self, key: &Key) -> ServiceRules {
        let mut rules = ServiceRules::new();
        let service = self.services.as_ref().and_then(|services| services.get(key));
        let Some(spec) = service.and_then(|service| service.spec.as_ref()) else { return rules };
        if spec.type_.as_deref() == Some("ExternalName") {
            return rules;
        }
        let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
        let addresses: Vec<Ipv4Addr> = spec
            .cluster_ips
            .iter()
            .flatten()
            .chain(spec.cluster_ip.iter())
            .filter_map(|text| text.parse().ok())
            .collect();
        for port in spec.ports.iter().flatten() {
            let Some(protocol) = Protocol::parse(port.protocol.as_deref()) else { continue };
            let Ok(number) = u16::try_from(port.port) else { continue };
            let name = port.name.as_deref().unwrap_or_default();
            let endpoints = self.endpoints(key, name, protocol);
            for address in &addresses {
                let frontend = Frontend { address: *address, protocol, port: number };
                rules.insert(frontend, Backends { endpoints: endpoints.clone(), sticky });
            }
        }
        rules
    }

    fn endpoints(&self, key: &Key, port: &str, protocol: Protocol) -> BTreeSet<(Ipv4Addr, u16)> {
        let ready = self.endpoints_where(key, port, protocol, |endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
        });
        if !ready.is_empty() {
            return ready;
        }
        // Nobody is ready: those that still serve while they end are better than nobody (KEP-1669).
        self.endpoints_where(key, port, protocol, |endpoint| {
            endpoint.conditions.as_ref().is_some_and(|conditions| {
                conditions.serving == Some(true) && conditions.terminating == Some(true)
            })
        })
    }

    fn endpoints_where(
        &self,
        key: &Key,
        port: &str,
        protocol: Protocol,
        wanted: impl Fn(&Endpoint) -> bool,
    ) -> BTreeSet<(Ipv4Addr, u16)> {
        let mut found = BTreeSet::new();
        let Some(all) = &self.slices else { return found };
        for name in self.slices_of.get(key).into_iter().flatten() {
            let Some(slice) = all.get(&(key.0.clone(), name.clone())) else { continue };
            let number = slice.ports.iter().flatten().find_map(|candidate| {
                let same = candidate.name.as_deref().unwrap_or_default() == port
                    && Protocol::parse(candidate.protocol.as_deref()) == Some(protocol);
                same.then_some(candidate.port?)
            });
            let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else { continue };
            for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| wanted(endpoint)) {
                let addresses = endpoint.addresses.iter().filter_map(|text| text.parse().ok());
                found.extend(addresses.map(|address: Ipv4Addr| (address, number)));
            }
        }
        found
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some((slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

fn key_of(metadata: &ObjectMeta) -> Key {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
