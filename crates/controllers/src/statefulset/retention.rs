//! What becomes of claims: `persistentVolumeClaimRetentionPolicy` (KEP-1847). Pure.
//!
//! No claim is ever deleted from here. A claim that should go with its set or with its pod gets that as an
//! owner, and garbage collection does the rest; so a policy that changes takes effect by owners that change.
//!
//! | whenScaled | whenDeleted | claim of a wanted ordinal | claim of one too many |
//! |---|---|---|---|
//! | Retain | Retain | neither | neither |
//! | Retain | Delete | the set | the set |
//! | Delete | Retain | neither | the pod |
//! | Delete | Delete | the set | the pod |

use std::sync::Arc;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use model::meta;
use model::resource::GroupVersionKind;

use super::set_kind;

const DELETE: &str = "Delete";

/// Who should own a claim, of the two that this controller speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Neither: it stays whatever happens.
    Neither,
    /// The set: it goes with the set.
    Set,
    /// The pod: it goes with the pod.
    Pod,
}

impl Wanted {
    /// What the set's policy wants for a claim of an ordinal. Values that nobody knows mean Retain.
    pub fn of(set: &StatefulSet, is_condemned: bool) -> Wanted {
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        let when_deleted = policy.and_then(|policy| policy.when_deleted.as_deref());
        if is_condemned && is_deleted_with_pods(set) {
            Wanted::Pod
        } else if when_deleted == Some(DELETE) {
            Wanted::Set
        } else {
            Wanted::Neither
        }
    }
}

/// True when scaling down deletes claims.
pub fn is_deleted_with_pods(set: &StatefulSet) -> bool {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    policy.and_then(|policy| policy.when_scaled.as_deref()) == Some(DELETE)
}

/// True when a pod of this name, whichever it was, owns the claim.
pub fn names_pod(owners: &[OwnerReference], pod_name: &str) -> bool {
    owners.iter().any(|owner| owner.kind == Pod::KIND && owner.name == pod_name)
}

/// The right owners of a claim, or `None` when those it has are right or not ours to change.
pub fn corrected(
    owners: &[OwnerReference],
    set: &StatefulSet,
    pod: Option<&ObjectMeta>,
    wanted: Wanted,
) -> Option<Vec<OwnerReference>> {
    let is_stale = |owner: &OwnerReference, kind: &str, object: &ObjectMeta| {
        owner.kind == kind
            && Some(&owner.name) == object.name.as_ref()
            && Some(&owner.uid) != object.uid.as_ref()
    };
    // It belonged to an earlier set or pod of the name and is about to go: nothing we write would help.
    if owners.iter().any(|owner| {
        is_stale(owner, StatefulSet::KIND, &set.metadata)
            || pod.is_some_and(|pod| is_stale(owner, Pod::KIND, pod))
    }) {
        return None;
    }
    let is = |owner: &OwnerReference, object: &ObjectMeta| Some(&owner.uid) == object.uid.as_ref();
    let is_set = |owner: &OwnerReference| is(owner, &set.metadata);
    let is_pod = |owner: &OwnerReference| pod.is_some_and(|pod| is(owner, pod));
    let has_foreign_controller =
        owners.iter().any(|owner| owner.controller == Some(true) && !is_set(owner) && !is_pod(owner));
    let wanted = if has_foreign_controller { Wanted::Neither } else { wanted };
    let ours = match (wanted, pod) {
        (Wanted::Neither, _) | (Wanted::Pod, None) => None,
        (Wanted::Set, _) => Some(meta::owner_reference(&set.metadata, &set_kind())),
        (Wanted::Pod, Some(pod)) => Some(meta::owner_reference(pod, &pod_kind())),
    };
    let is_right = |owner: &OwnerReference| match &ours {
        Some(ours) => owner.uid == ours.uid && owner.controller == Some(true),
        None => false,
    };
    let has_wrong = owners.iter().any(|owner| (is_set(owner) || is_pod(owner)) && !is_right(owner));
    let lacks_ours = ours.is_some() && !owners.iter().any(is_right);
    if !has_wrong && !lacks_ours {
        return None;
    }
    let foreign = owners.iter().filter(|owner| !is_set(owner) && !is_pod(owner)).cloned();
    Some(foreign.chain(ours.clone()).collect())
}

/// A claim that does not exist yet, with the owners that it should have from the start.
pub fn owned(mut claim: PersistentVolumeClaim, set: &StatefulSet, wanted: Wanted) -> PersistentVolumeClaim {
    claim.metadata.owner_references = corrected(&[], set, None, wanted);
    claim
}

/// A claim with other owners.
pub fn with_owners(claim: &Arc<PersistentVolumeClaim>, owners: Vec<OwnerReference>) -> PersistentVolumeClaim {
    let mut claim = (**claim).clone();
    claim.metadata.owner_references = Some(owners).filter(|owners| !owners.is_empty());
    claim
}

fn pod_kind() -> GroupVersionKind {
    GroupVersionKind::constant(Pod::GROUP, Pod::VERSION, Pod::KIND)
}
