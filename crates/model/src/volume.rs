//! Volumes and claims: what each says, and which volume satisfies which claim.
//!
//! Pure questions about one claim and one volume, for whoever chooses: class, mode, access modes, size and
//! selector must fit. Where a volume can be used is told by [`reaches`].

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

use crate::quantity::Quantity;
use crate::selector::Selector;
use crate::{meta, node_selector};

/// The annotation by which the scheduler says where a claim is first used.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On claims and volumes: a controller chose the other side, not the user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The annotation that named the class before there was a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

type Labels = BTreeMap<String, String>;

fn annotation<'a>(annotations: &'a Option<Labels>, key: &str) -> Option<&'a str> {
    annotations.as_ref()?.get(key).map(String::as_str)
}

/// A claim's class; empty for none.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata.annotations, OLD_CLASS).or(spec).unwrap_or_default()
}

/// A volume's class; empty for none.
pub fn volume_class(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata.annotations, OLD_CLASS).or(spec).unwrap_or_default()
}

/// The volume that a claim names; empty names none.
pub fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// The node that the scheduler chose for a claim.
pub fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(&claim.metadata.annotations, SELECTED_NODE).filter(|node| !node.is_empty())
}

/// Bytes that a claim asks for.
pub fn requested_bytes(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let storage = resources.and_then(|resources| resources.requests.as_ref()?.get("storage"));
    storage.and_then(|storage| Quantity::of(storage).ok()).map_or(0, |storage| storage.value())
}

/// Bytes that a volume holds.
pub fn capacity_bytes(volume: &PersistentVolume) -> i64 {
    let storage = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    storage.and_then(|storage| Quantity::of(storage).ok()).map_or(0, |storage| storage.value())
}

/// The claim that a volume is bound or promised to.
pub fn claim_reference(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// True when a volume's reference means this very claim: by its names, and by its uid once it is there.
pub fn is_meant(reference: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    let uid = reference.uid.as_deref().unwrap_or_default();
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
}

/// `status.phase` of a volume.
pub fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// True when nobody has the volume and anybody may choose it.
pub fn is_free(volume: &PersistentVolume) -> bool {
    claim_reference(volume).is_none()
        && volume_phase(volume) == "Available"
        && !meta::is_terminating(&volume.metadata)
}

/// Why a volume that a claim names does not satisfy it, in upstream's words.
pub fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<&'static str> {
    if capacity_bytes(volume) < requested_bytes(claim) {
        return Some("requested PV is too small");
    }
    if claim_class(claim) != volume_class(volume) {
        return Some("storageClassName does not match");
    }
    if !has_same_mode(claim, volume) {
        return Some("incompatible volumeMode");
    }
    if !has_access_modes(claim, volume) {
        return Some("incompatible accessMode");
    }
    None
}

/// True when a volume satisfies a claim that does not name one.
pub fn satisfies(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    mismatch(claim, volume).is_none() && is_selected(claim, volume)
}

fn mode(mode: Option<&String>) -> &str {
    mode.map_or("Filesystem", String::as_str)
}

/// True when both are a file system, or both a block device.
pub fn has_same_mode(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let claim = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref());
    let volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref());
    mode(claim) == mode(volume)
}

/// True when a volume offers every access mode that a claim asks for.
pub fn has_access_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let offered = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wanted = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wanted.iter().all(|mode| offered.contains(mode))
}

fn is_selected(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let Some(selector) = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return true };
    let none = Labels::new();
    let labels = volume.metadata.labels.as_ref().unwrap_or(&none);
    // A selector that cannot be read selects nothing.
    Selector::from_label_selector(selector).is_ok_and(|selector| selector.matches(labels))
}

/// True when a volume can be used on a node with these labels.
pub fn reaches(volume: &PersistentVolume, labels: &BTreeMap<String, String>, node: &str) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| node_selector::matches(required, labels, node))
}
