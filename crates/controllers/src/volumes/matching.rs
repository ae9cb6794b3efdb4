//! Which volume fits which claim.
//!
//! Pure questions about one claim and one volume; the search over the view is [`best`]. Class, mode, access
//! modes, size and selector must fit, and the volume must be usable where the claim is first used.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim,
};
use model::meta;
use model::quantity::Quantity;
use model::selector::Selector;

use super::SELECTED_NODE;
use super::view::View;
use reconcile::runner::ObjectKey;

/// The annotation that named the class before there was a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

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
pub fn claim_of(volume: &PersistentVolume) -> Option<(ObjectKey, &ObjectReference)> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Some((ObjectKey::new(text(&reference.namespace), text(&reference.name)), reference))
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
    claim_of(volume).is_none()
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

fn has_same_mode(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let claim = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref());
    let volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref());
    mode(claim) == mode(volume)
}

fn has_access_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
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

/// What a search came to.
pub enum Choice<'a> {
    /// The smallest free volume that fits.
    Volume(&'a PersistentVolume),
    /// Some fit, and plans under way give each of them to another claim.
    Reserved,
    /// None fits.
    None,
}

/// The smallest free volume that fits a claim. `node` is where it will be used; without it, any will do.
pub fn best<'a>(view: &'a View, claim: &PersistentVolumeClaim, node: Option<&str>) -> Choice<'a> {
    let key = ObjectKey::of(claim);
    let mut fitting = view
        .free_volumes(claim_class(claim), requested_bytes(claim))
        .filter(|volume| satisfies(claim, volume))
        .filter(|volume| node.is_none_or(|node| reaches(view, volume, node)))
        .peekable();
    let some_fit = fitting.peek().is_some();
    let is_left = |volume: &&PersistentVolume| {
        !view.is_reserved_for_another(volume.metadata.name.as_deref().unwrap_or_default(), &key)
    };
    match fitting.find(is_left) {
        Some(volume) => Choice::Volume(volume),
        None if some_fit => Choice::Reserved,
        None => Choice::None,
    }
}

/// The volume that was promised to a claim before it asked; its class does not count then.
pub fn promised<'a>(view: &'a View, claim: &PersistentVolumeClaim) -> Option<&'a PersistentVolume> {
    view.volumes_of(&ObjectKey::of(claim)).find(|volume| {
        claim_of(volume).is_some_and(|(_, reference)| is_meant(reference, claim))
            && !meta::is_terminating(&volume.metadata)
            && capacity_bytes(volume) >= requested_bytes(claim)
            && has_same_mode(claim, volume)
            && has_access_modes(claim, volume)
    })
}

/// True when a volume can be used on a node.
pub fn reaches(view: &View, volume: &PersistentVolume, node: &str) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else { return true };
    // A node that is not known (yet) has at least the name that nodes give themselves.
    let unknown = Labels::from([(HOSTNAME_LABEL.to_owned(), node.to_owned())]);
    selects(required, view.node_labels(node).unwrap_or(&unknown), node)
}

/// True when any term matches; an empty selector matches nothing.
fn selects(selector: &NodeSelector, labels: &Labels, node: &str) -> bool {
    selector.node_selector_terms.iter().any(|term| term_selects(term, labels, node))
}

fn term_selects(term: &NodeSelectorTerm, labels: &Labels, node: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |key: &str| (key == "metadata.name").then_some(node);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|one| holds(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(|one| holds(one, field(&one.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|candidate| candidate == value));
    let compared = |holds: fn(&i64, &i64) -> bool| match (value.map(str::parse), values) {
        (Some(Ok(value)), [bound]) => bound.parse().is_ok_and(|bound| holds(&value, &bound)),
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}
