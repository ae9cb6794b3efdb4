//! Which volume a claim gets: the search over the view.
//!
//! What fits is told by [`model::volume`]; here it is found, the smallest first, and only where the claim is
//! first used.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use model::meta;
pub use model::volume::{
    capacity_bytes, claim_class, is_free, is_meant, mismatch, requested_bytes, satisfies, selected_node,
    volume_class, volume_name, volume_phase,
};
use model::volume::{claim_reference, has_access_modes, has_same_mode};
use reconcile::runner::ObjectKey;

use super::view::View;

const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// The claim that a volume is bound or promised to.
pub fn claim_of(volume: &PersistentVolume) -> Option<(ObjectKey, &ObjectReference)> {
    let reference = claim_reference(volume)?;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Some((ObjectKey::new(text(&reference.namespace), text(&reference.name)), reference))
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
    // A node that is not known (yet) has at least the name that nodes give themselves.
    let unknown = BTreeMap::from([(HOSTNAME_LABEL.to_owned(), node.to_owned())]);
    model::volume::reaches(volume, view.node_labels(node).unwrap_or(&unknown), node)
}
