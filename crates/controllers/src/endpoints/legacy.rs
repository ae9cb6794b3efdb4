//! A service's Endpoints, the older form that holds every address in one object: pure.
//!
//! Addresses with the same ports make a subset. More than [`ADDRESSES_MAX`] addresses do not fit and are
//! left out, ready ones last, and an annotation says so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::ports::{self, Port};
use super::view::PodEntry;
use super::{ENDPOINTS_MANAGED_BY_LABEL, HEADLESS_LABEL, NAME, slices};

/// Addresses in one Endpoints object, as upstream has it.
pub const ADDRESSES_MAX: usize = 1_000;
/// Says that addresses were left out.
pub const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The Endpoints that a service should have, on top of those that it has.
pub fn wanted(service: &Service, pods: &[&PodEntry], current: Option<&Endpoints>) -> Endpoints {
    let (subsets, is_truncated) = truncate(subsets(service, pods));
    let mut endpoints = current.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    endpoints.metadata.labels = Some(labels(service));
    let mut annotations = endpoints.metadata.annotations.take().unwrap_or_default();
    if is_truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    endpoints.metadata.annotations = Some(annotations).filter(|all| !all.is_empty());
    endpoints.subsets = Some(subsets).filter(|all| !all.is_empty());
    endpoints
}

/// True when two Endpoints say the same.
pub fn is_same(one: &Endpoints, other: &Endpoints) -> bool {
    let subsets = |endpoints: &Endpoints| endpoints.subsets.clone().unwrap_or_default();
    let annotations = |endpoints: &Endpoints| endpoints.metadata.annotations.clone().unwrap_or_default();
    one.metadata.labels == other.metadata.labels
        && annotations(one) == annotations(other)
        && subsets(one) == subsets(other)
}

/// How many addresses there are.
pub fn count(endpoints: &Endpoints) -> usize {
    let subsets = endpoints.subsets.iter().flatten();
    let lists = subsets.flat_map(|subset| [&subset.addresses, &subset.not_ready_addresses]);
    lists.map(|list| list.as_ref().map_or(0, Vec::len)).sum()
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    if ports::is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(ENDPOINTS_MANAGED_BY_LABEL.to_owned(), NAME.to_owned());
    labels
}

/// Addresses of one subset, sorted and with their readiness, by the address and the pod's uid.
type Addresses = BTreeMap<(IpAddr, String), (bool, EndpointAddress)>;

fn subsets(service: &Service, pods: &[&PodEntry]) -> BTreeMap<Vec<Port>, Addresses> {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or_default();
    let has_ports = spec.and_then(|spec| spec.ports.as_ref()).is_some_and(|ports| !ports.is_empty());
    let mut subsets: BTreeMap<Vec<Port>, Addresses> = BTreeMap::new();
    for pod in pods {
        if pod.is_over || (pod.is_terminating && !publish) {
            continue;
        }
        let Ok(ip) = pod.address.parse::<IpAddr>() else { continue };
        let ports: Vec<Port> = ports::of(service, &pod.pod);
        let is_offered = if has_ports { !ports.is_empty() } else { ports::is_headless(service) };
        if !is_offered {
            continue;
        }
        let address = EndpointAddress {
            ip: pod.address.clone(),
            hostname: pod.hostname(service.metadata.name.as_deref().unwrap_or_default()).map(str::to_owned),
            node_name: pod.node().map(str::to_owned),
            target_ref: Some(slices::reference(pod)),
        };
        let addresses = subsets.entry(ports).or_default();
        addresses.insert((ip, pod.uid().to_owned()), (publish || pod.is_ready, address));
    }
    subsets
}

fn truncate(subsets: BTreeMap<Vec<Port>, Addresses>) -> (Vec<EndpointSubset>, bool) {
    let mut order: Vec<(Reverse<bool>, usize, &(IpAddr, String))> = Vec::new();
    for (index, addresses) in subsets.values().enumerate() {
        order.extend(addresses.iter().map(|(key, (is_ready, _))| (Reverse(*is_ready), index, key)));
    }
    order.sort();
    let is_truncated = order.len() > ADDRESSES_MAX;
    let kept: BTreeSet<(usize, (IpAddr, String))> =
        order.into_iter().take(ADDRESSES_MAX).map(|(_, index, key)| (index, key.clone())).collect();
    let mut built = Vec::new();
    for (index, (ports, addresses)) in subsets.into_iter().enumerate() {
        let (mut ready, mut not_ready) = (Vec::new(), Vec::new());
        for (key, (is_ready, address)) in addresses {
            if is_truncated && !kept.contains(&(index, key)) {
                continue;
            }
            if is_ready { ready.push(address) } else { not_ready.push(address) }
        }
        if ready.is_empty() && not_ready.is_empty() {
            continue;
        }
        let ports: Vec<EndpointPort> = ports.iter().map(port).collect();
        built.push(EndpointSubset {
            addresses: Some(ready).filter(|all| !all.is_empty()),
            not_ready_addresses: Some(not_ready).filter(|all| !all.is_empty()),
            ports: Some(ports).filter(|all| !all.is_empty()),
        });
    }
    (built, is_truncated)
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        protocol: Some(port.protocol.clone()),
        port: port.number,
        app_protocol: port.application.clone(),
    }
}
