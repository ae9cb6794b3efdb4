//! What a pod's claims allow.

use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use reconcile::runner::ObjectKey;

use crate::selection;
use crate::view::View;

/// The annotation by which the scheduler tells the volume controller where a claim is first used.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Where a pod's claims stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Names of the volumes of those that are bound.
    pub bound: Vec<String>,
    /// Those that wait for a node to be chosen, with the node chosen so far.
    pub waiting: Vec<(ObjectKey, Option<String>)>,
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
        } else if waits_for_first_consumer(view, claim) {
            claims.waiting.push((claim_key, selected_node(claim)));
        } else {
            unbound_immediate = true;
        }
    }
    if unbound_immediate {
        return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
    }
    Ok(claims)
}

/// True when every bound volume can be used on this node.
pub(crate) fn reach(view: &View, claims: &Claims, node: &Node) -> bool {
    claims.bound.iter().all(|name| {
        let Some(volume) = view.volume(name) else { return false };
        let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        required.is_none_or(|selector| selection::matches(selector, node))
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
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let mode = class.and_then(|name| view.class(name)).and_then(|class| class.volume_binding_mode.as_deref());
    mode == Some("WaitForFirstConsumer")
}

fn selected_node(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.metadata.annotations.as_ref()?.get(SELECTED_NODE).cloned()
}
