//! What a pod's claims allow: bound ones their volume's nodes, waiting ones the nodes where a volume fits or
//! can be made.
//!
//! A claim that waits for its first consumer takes the smallest free volume that fits on the node; only where
//! there is none is a new one asked for. Read next: [`crate::supply`].

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use model::volume::{self, selected_node, volume_name};
use reconcile::runner::ObjectKey;

use crate::selection;
use crate::supply::Supply;
use crate::view::View;

/// Where a pod's claims stand.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Names of the volumes of those that are bound, or promised one.
    pub bound: Vec<String>,
    /// Those that are being provided for on a node that was chosen, with it; or are promised a volume.
    pub under_way: Vec<(ObjectKey, Option<String>)>,
    /// Those that wait for a node to be chosen, the smallest first, with what could satisfy them.
    pub open: Vec<Supply>,
    /// Claims that only one pod may use, and that another pod with a place uses.
    pub taken_alone: bool,
}

/// The names of the claims that a pod uses, those of its generic ephemeral volumes among them.
pub(crate) fn claim_names(pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| {
            if let Some(claim) = &volume.persistent_volume_claim {
                return Some(claim.claim_name.clone());
            }
            volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name))
        })
        .collect()
}

/// Where this pod's claims stand; an error is the reason why it can go nowhere.
pub(crate) fn claims(view: &View, pod: &Pod, key: &ObjectKey) -> Result<Claims, String> {
    let mut claims = Claims::default();
    let mut unbound_immediate = false;
    for name in claim_names(pod) {
        let claim_key = ObjectKey::new(key.namespace.clone(), name.clone());
        let Some(claim) = view.claim(&claim_key) else {
            return Err(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if is_for_one_pod(claim) && view.other_users(&claim_key, key) > 0 {
            claims.taken_alone = true;
        }
        if let Some(volume) = bound_volume(claim) {
            claims.bound.push(volume.to_owned());
        } else if !waits_for_first_consumer(view, claim) {
            unbound_immediate = true;
        } else if let Some(promised) = view.promised(&claim_key, claim) {
            claims.bound.push(promised.to_owned());
            claims.under_way.push((claim_key, None));
        } else if let Some(node) = selected_node(claim) {
            claims.under_way.push((claim_key, Some(node.to_owned())));
        } else if volume_name(claim).is_none() {
            claims.open.push(Supply::of(view, claim_key, claim));
        } else {
            unbound_immediate = true;
        }
    }
    if unbound_immediate {
        return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
    }
    claims.open.sort_by_key(Supply::requested_bytes);
    Ok(claims)
}

/// True when every bound volume can be used on this node.
pub(crate) fn reach(view: &View, claims: &Claims, node: &Node) -> bool {
    claims.bound.iter().all(|name| {
        let Some(volume) = view.volume(name) else { return false };
        volume::reaches(volume, selection::labels(node), selection::name(node))
    })
}

fn is_for_one_pod(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
}

fn bound_volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    let bound = claim.status.as_ref()?.phase.as_deref() == Some("Bound");
    let name = claim.spec.as_ref()?.volume_name.as_deref()?;
    (bound && !name.is_empty()).then_some(name)
}

fn waits_for_first_consumer(view: &View, claim: &PersistentVolumeClaim) -> bool {
    let mode = view.class(volume::claim_class(claim)).and_then(|class| class.volume_binding_mode.as_deref());
    mode == Some("WaitForFirstConsumer")
}
