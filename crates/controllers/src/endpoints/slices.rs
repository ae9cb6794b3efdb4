//! A service's EndpointSlices: pure.
//!
//! Pods that offer the same ports share slices, at most [`ENDPOINTS_MAX`] in each. A change touches as few
//! slices as it can: what is right stays where it is, what is new goes first into slices that are written
//! anyway, then into one with room, then into new ones.

use std::collections::BTreeMap;

use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use model::meta;
use model::resource::GroupVersionKind;

use super::ports::{self, Port};
use super::view::PodEntry;
use super::{HEADLESS_LABEL, SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL, SLICES_MANAGER};

/// Endpoints in one slice, as upstream has it: a change of one writes some 30 kB at most.
pub const ENDPOINTS_MAX: usize = 100;
/// The one address family of the pod network.
const IPV4: &str = "IPv4";

/// What to do to a service's slices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SliceWrites {
    /// New ones.
    pub create: Vec<EndpointSlice>,
    /// Changed ones, each with the revision that was decided about.
    pub update: Vec<EndpointSlice>,
    /// Those that nothing needs any more: name and uid.
    pub delete: Vec<(String, String)>,
}

impl SliceWrites {
    /// True when all slices are right.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// A slice that is there, and what it is to hold.
struct Draft<'a> {
    slice: &'a EndpointSlice,
    endpoints: Vec<Endpoint>,
    is_changed: bool,
}

/// Decides about a service's slices. `existing` are those that bear its name and are this controller's.
pub fn plan(service: &Service, pods: &[&PodEntry], existing: &[&EndpointSlice]) -> SliceWrites {
    let mut writes = SliceWrites::default();
    let owner = owner_of(service);
    let labels = labels_of(service);
    let mut groups: BTreeMap<Vec<Port>, Vec<Draft<'_>>> = BTreeMap::new();
    for &slice in existing {
        if meta::is_terminating(&slice.metadata) {
            continue;
        }
        if !is_usable(slice, &owner) {
            writes.delete.push(name_and_uid(slice));
            continue;
        }
        let is_changed = slice.metadata.labels.as_ref() != Some(&labels);
        let draft = Draft { slice, endpoints: Vec::new(), is_changed };
        groups.entry(ports_of(slice)).or_default().push(draft);
    }
    let mut wanted = wanted(service, pods);
    if wanted.is_empty() {
        // A service without endpoints still shows one slice, so that readers see that somebody looked.
        wanted.insert(Vec::new(), BTreeMap::new());
        if !groups.contains_key(&Vec::new())
            && let Some((_, drafts)) = groups.pop_first()
        {
            groups.insert(Vec::new(), drafts);
        }
    }
    let template =
        |ports: &[Port], endpoints: Vec<Endpoint>| fresh(service, &owner, &labels, ports, endpoints);
    for (ports, wanted) in wanted {
        let drafts = groups.remove(&ports).unwrap_or_default();
        fill(drafts, wanted, &ports, &labels, template, &mut writes);
    }
    // What nothing needs any more becomes what is new: readers never see a moment with both or neither.
    for draft in groups.into_values().flatten() {
        match writes.create.pop() {
            Some(new) => writes.update.push(EndpointSlice {
                endpoints: new.endpoints,
                ports: new.ports,
                metadata: ObjectMeta { labels: Some(labels.clone()), ..draft.slice.metadata.clone() },
                ..draft.slice.clone()
            }),
            None => writes.delete.push(name_and_uid(draft.slice)),
        }
    }
    writes
}

/// Brings the slices of one set of ports to what is wanted.
fn fill(
    mut drafts: Vec<Draft<'_>>,
    mut wanted: BTreeMap<String, Endpoint>,
    ports: &[Port],
    labels: &BTreeMap<String, String>,
    template: impl Fn(&[Port], Vec<Endpoint>) -> EndpointSlice,
    writes: &mut SliceWrites,
) {
    let needs_placeholder = wanted.is_empty();
    for draft in &mut drafts {
        for endpoint in draft.slice.endpoints.iter().flatten() {
            match wanted.remove(uid_of(endpoint)) {
                Some(now) => {
                    draft.is_changed |= now != *endpoint;
                    draft.endpoints.push(now);
                }
                None => draft.is_changed = true,
            }
        }
        draft.is_changed |= ports_of(draft.slice) != ports;
    }
    let mut rest: Vec<Endpoint> = wanted.into_values().collect();
    for draft in drafts.iter_mut().filter(|draft| draft.is_changed) {
        let room = ENDPOINTS_MAX.saturating_sub(draft.endpoints.len()).min(rest.len());
        draft.endpoints.extend(rest.drain(..room));
    }
    // The fullest of the untouched slices that takes all that is left, if any does.
    let left = rest.len() % ENDPOINTS_MAX;
    let with_room = drafts.iter_mut().filter(|draft| draft.endpoints.len() + left <= ENDPOINTS_MAX);
    if left > 0
        && let Some(draft) = with_room.max_by_key(|draft| draft.endpoints.len())
    {
        draft.endpoints.extend(rest.drain(..left));
        draft.is_changed = true;
    }
    writes.create.extend(rest.chunks(ENDPOINTS_MAX).map(|chunk| template(ports, chunk.to_vec())));
    let mut placeholder_missing = needs_placeholder;
    for draft in drafts {
        if draft.endpoints.is_empty() && !std::mem::take(&mut placeholder_missing) {
            writes.delete.push(name_and_uid(draft.slice));
        } else if draft.is_changed {
            let mut slice = draft.slice.clone();
            slice.metadata.labels = Some(labels.clone());
            slice.endpoints = Some(draft.endpoints);
            slice.ports = Some(ports.iter().map(slice_port).collect());
            writes.update.push(slice);
        }
    }
    if placeholder_missing {
        writes.create.push(template(ports, Vec::new()));
    }
}

/// The endpoints there should be, by the ports of their pods and the pods' uids.
fn wanted(service: &Service, pods: &[&PodEntry]) -> BTreeMap<Vec<Port>, BTreeMap<String, Endpoint>> {
    let mut wanted: BTreeMap<Vec<Port>, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.is_over && !pod.address.is_empty()) {
        let same_ports = wanted.entry(ports::of(service, &pod.pod)).or_default();
        same_ports.insert(pod.uid().to_owned(), endpoint(service, pod));
    }
    wanted
}

fn endpoint(service: &Service, pod: &PodEntry) -> Endpoint {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or_default();
    Endpoint {
        addresses: vec![pod.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (pod.is_ready && !pod.is_terminating)),
            serving: Some(pod.is_ready),
            terminating: Some(pod.is_terminating),
        }),
        hostname: pod.hostname(service.metadata.name.as_deref().unwrap_or_default()).map(str::to_owned),
        node_name: pod.node().map(str::to_owned),
        target_ref: Some(reference(pod)),
        ..Endpoint::default()
    }
}

/// A reference from an endpoint to its pod.
pub fn reference(pod: &PodEntry) -> ObjectReference {
    ObjectReference {
        kind: Some(Pod::KIND.to_owned()),
        namespace: pod.pod.metadata.namespace.clone(),
        name: pod.pod.metadata.name.clone(),
        uid: pod.pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn uid_of(endpoint: &Endpoint) -> &str {
    endpoint.target_ref.as_ref().and_then(|pod| pod.uid.as_deref()).unwrap_or_default()
}

fn name_and_uid(slice: &EndpointSlice) -> (String, String) {
    let metadata = &slice.metadata;
    (metadata.name.clone().unwrap_or_default(), metadata.uid.clone().unwrap_or_default())
}

/// False for slices of another family, and for those of an earlier service of the same name.
fn is_usable(slice: &EndpointSlice, owner: &OwnerReference) -> bool {
    let owners = slice.metadata.owner_references.iter().flatten();
    slice.address_type == IPV4 && owners.into_iter().any(|one| one.uid == owner.uid)
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let mut ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_default(),
            number: port.port.unwrap_or_default(),
            application: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    ports
}

fn slice_port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.number),
        app_protocol: port.application.clone(),
    }
}

fn owner_of(service: &Service) -> OwnerReference {
    let kind = GroupVersionKind::constant(Service::GROUP, Service::VERSION, Service::KIND);
    meta::owner_reference(&service.metadata, &kind)
}

fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    if ports::is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME_LABEL.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(SLICE_MANAGED_BY_LABEL.to_owned(), SLICES_MANAGER.to_owned());
    labels
}

fn fresh(
    service: &Service,
    owner: &OwnerReference,
    labels: &BTreeMap<String, String>,
    ports: &[Port],
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    EndpointSlice {
        address_type: IPV4.to_owned(),
        endpoints: Some(endpoints),
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        ports: Some(ports.iter().map(slice_port).collect()),
    }
}
