//! Which slices repeat an Endpoints object: pure.
//!
//! Subsets with the same ports become one group for each family of addresses, a group one slice or several.
//! A slice that has a group's ports already is kept for it, so that a change of addresses is one update.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use model::meta;
use model::resource::GroupVersionKind;
use reconcile::runner::ObjectKey;

use super::view::View;
use super::{LEADER_ANNOTATION, SKIP_MIRROR_LABEL, SLICES_MANAGER};
use crate::endpoints::slices::SliceWrites;
use crate::endpoints::{SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL};

/// Addresses of a subset that are mirrored, upstream's default; those that are ready come first.
const ADDRESSES_PER_SUBSET_MAX: usize = 1_000;
/// Endpoints in one slice: the API takes no more.
const ENDPOINTS_PER_SLICE_MAX: usize = 1_000;
/// Annotations that speak of the Endpoints object itself.
const OWN_ANNOTATIONS: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

type Texts = BTreeMap<String, String>;

/// Decides about a service's slices.
pub fn plan(view: &View, key: &ObjectKey) -> SliceWrites {
    let mut writes = SliceWrites::default();
    let mut left: Vec<&EndpointSlice> =
        view.slices(key).filter(|slice| !meta::is_terminating(&slice.metadata)).collect();
    let wanted = view.endpoints(key).filter(|endpoints| is_mirrored(endpoints)).map(mirror);
    let mut without = Vec::new();
    for slice in wanted.into_iter().flatten() {
        let same =
            |one: &&EndpointSlice| one.address_type == slice.address_type && ports(one) == ports(&slice);
        match left.iter().position(same) {
            Some(index) => update(left.remove(index), slice, &mut writes),
            None => without.push(slice),
        }
    }
    for slice in without {
        match left.iter().position(|one| one.address_type == slice.address_type) {
            Some(index) => update(left.remove(index), slice, &mut writes),
            None => writes.create.push(slice),
        }
    }
    writes.delete = left.into_iter().map(name_and_uid).collect();
    writes
}

/// True for Endpoints that somebody means as endpoints, and not for somebody else to mirror.
fn is_mirrored(endpoints: &Endpoints) -> bool {
    let ObjectMeta { labels, annotations, .. } = &endpoints.metadata;
    let skips = labels.as_ref().and_then(|labels| labels.get(SKIP_MIRROR_LABEL));
    let leads = annotations.as_ref().is_some_and(|all| all.contains_key(LEADER_ANNOTATION));
    skips.is_none_or(|skips| skips != "true") && !leads && !meta::is_terminating(&endpoints.metadata)
}

/// Writes what a slice lacks of what it is to be.
fn update(slice: &EndpointSlice, wanted: EndpointSlice, writes: &mut SliceWrites) {
    let (old, new) = (&slice.metadata, &wanted.metadata);
    let texts = |texts: &Option<Texts>| texts.clone().unwrap_or_default();
    let is_right = texts(&old.labels) == texts(&new.labels)
        && texts(&old.annotations) == texts(&new.annotations)
        && old.owner_references == new.owner_references
        && slice.endpoints.as_deref().unwrap_or_default() == wanted.endpoints.as_deref().unwrap_or_default()
        && ports(slice) == ports(&wanted);
    if is_right {
        return;
    }
    let metadata = ObjectMeta {
        labels: wanted.metadata.labels,
        annotations: wanted.metadata.annotations,
        owner_references: wanted.metadata.owner_references,
        ..slice.metadata.clone()
    };
    writes.update.push(EndpointSlice { metadata, ..wanted });
}

fn ports(slice: &EndpointSlice) -> &[EndpointPort] {
    slice.ports.as_deref().unwrap_or_default()
}

fn name_and_uid(slice: &EndpointSlice) -> (String, String) {
    (ObjectKey::of(slice).name, slice.metadata.uid.clone().unwrap_or_default())
}

/// Ports in the order of their names, as what a group is told apart by.
type Ports = Vec<(String, String, i32, Option<String>)>;

/// The slices that repeat an Endpoints object.
fn mirror(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<(Ports, &'static str), Group> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports_of(subset);
        let with = |all: &'_ Option<Vec<EndpointAddress>>, is_ready: bool| -> Vec<(EndpointAddress, bool)> {
            all.iter().flatten().map(|address| (address.clone(), is_ready)).collect()
        };
        let ready = with(&subset.addresses, true).into_iter();
        let all = ready.chain(with(&subset.not_ready_addresses, false)).take(ADDRESSES_PER_SUBSET_MAX);
        for (address, is_ready) in all {
            let Ok(parsed) = address.ip.parse::<IpAddr>() else { continue };
            let family = if parsed.is_ipv4() { "IPv4" } else { "IPv6" };
            let group = groups.entry((ports.clone(), family)).or_default();
            if group.known.insert(address.ip.clone()) {
                group.endpoints.push(endpoint(address, is_ready));
            }
        }
    }
    let metadata = metadata(endpoints);
    let mut slices = Vec::new();
    for ((ports, family), group) in groups {
        let ports: Vec<EndpointPort> = ports.into_iter().map(port).collect();
        for part in group.endpoints.chunks(ENDPOINTS_PER_SLICE_MAX) {
            slices.push(EndpointSlice {
                address_type: family.to_owned(),
                endpoints: Some(part.to_vec()),
                metadata: metadata.clone(),
                ports: Some(ports.clone()),
            });
        }
    }
    slices
}

#[derive(Default)]
struct Group {
    endpoints: Vec<Endpoint>,
    /// Addresses that are in it: more than one subset may name one.
    known: HashSet<String>,
}

fn ports_of(subset: &EndpointSubset) -> Ports {
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let all = subset.ports.iter().flatten();
    let mut ports: Ports = all
        .map(|port| {
            let name = port.name.clone().unwrap_or_default();
            (name, protocol(&port.protocol), port.port, port.app_protocol.clone())
        })
        .collect();
    ports.sort();
    ports
}

fn port((name, protocol, number, app_protocol): (String, String, i32, Option<String>)) -> EndpointPort {
    EndpointPort { name: Some(name), protocol: Some(protocol), port: Some(number), app_protocol }
}

fn endpoint(address: EndpointAddress, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip],
        conditions: Some(EndpointConditions { ready: Some(is_ready), ..EndpointConditions::default() }),
        hostname: address.hostname.filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name,
        target_ref: address.target_ref,
        ..Endpoint::default()
    }
}

fn metadata(endpoints: &Endpoints) -> ObjectMeta {
    let ObjectMeta { name, namespace, labels, annotations, .. } = &endpoints.metadata;
    let name = name.clone().unwrap_or_default();
    let mut labels = labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME_LABEL.to_owned(), name.clone());
    labels.insert(SLICE_MANAGED_BY_LABEL.to_owned(), SLICES_MANAGER.to_owned());
    let mut annotations = annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: namespace.clone(),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![owner(endpoints)]),
        ..ObjectMeta::default()
    }
}

fn owner(endpoints: &Endpoints) -> OwnerReference {
    let kind = GroupVersionKind::constant(Endpoints::GROUP, Endpoints::VERSION, Endpoints::KIND);
    meta::owner_reference(&endpoints.metadata, &kind)
}
