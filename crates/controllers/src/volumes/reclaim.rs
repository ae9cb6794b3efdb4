//! Volumes: their phase while nobody has them, what becomes of them when their claim is gone, and when a
//! volume's object may go.
//!
//! While its claim lives a volume's phase is the claim's matter ([`super::binding`]). Content is removed only
//! by policy `Delete`, only by the driver that made it, and only after the API itself has said that the
//! claim is gone. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeStatus};
use model::meta;
use storage::driver::VolumeId;

use super::binding::{in_phase, is_complete};
use super::matching::{self, claim_of, volume_phase};
use super::plan::{ClaimId, Plan, Step};
use super::view::View;
use super::{BOUND_BY_CONTROLLER, PROVISIONED_BY, VOLUME_PROTECTION};
use reconcile::recorder::{EventKind, reference_to};
use reconcile::runner::ObjectKey;

/// Decides about a volume.
pub fn plan(view: &View, name: &str, now: Timestamp) -> Plan {
    let Some(volume) = view.volume(name) else { return Plan::default() };
    let Some((key, reference)) = claim_of(volume) else { return unclaimed(volume, now) };
    let uid = reference.uid.as_deref().unwrap_or_default();
    if uid.is_empty() {
        // Promised by name to a claim that has not come yet, or is just being bound.
        return unclaimed(volume, now);
    }
    let claim = view.claim(&key).filter(|claim| claim.metadata.uid.as_deref() == Some(uid));
    match claim {
        None => claim_is_gone(view, volume, ClaimId { key, uid: uid.to_owned() }, now),
        Some(claim) if is_complete(claim) && matching::volume_name(claim) != Some(name) => unbind(volume),
        Some(claim) => {
            let is_used = volume_phase(volume) == "Bound" || matching::volume_name(claim) == Some(name);
            if is_used { Plan::default() } else { let_go(volume, Plan::default()) }
        }
    }
}

fn unclaimed(volume: &PersistentVolume, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if meta::is_terminating(&volume.metadata) {
        return let_go(volume, plan);
    }
    if volume_phase(volume) != "Available" {
        plan.steps.push(Step::VolumeStatus(Box::new(in_phase(volume.clone(), "Available", now))));
    }
    plan
}

/// The claim has taken another volume: this one is given back, to everybody or to its name.
fn unbind(volume: &PersistentVolume) -> Plan {
    let mut plan = Plan::default();
    let mut free = volume.clone();
    let annotations = free.metadata.annotations.get_or_insert_default();
    let was_chosen =
        annotations.remove(BOUND_BY_CONTROLLER).is_some() || annotations.contains_key(PROVISIONED_BY);
    if let Some(spec) = &mut free.spec {
        spec.claim_ref = spec.claim_ref.take().filter(|_| !was_chosen).map(|reference| ObjectReference {
            uid: None,
            resource_version: None,
            ..reference
        });
    }
    plan.steps.push(Step::Volume(Box::new(free)));
    plan
}

fn claim_is_gone(view: &View, volume: &PersistentVolume, claim: ClaimId, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let is_given_back = matches!(volume_phase(volume), "Released" | "Failed");
    let mut released = volume.clone();
    if !is_given_back {
        released = in_phase(released, "Released", now);
        plan.steps.push(Step::ConfirmClaimGone(claim.clone()));
        plan.steps.push(Step::VolumeStatus(Box::new(released.clone())));
    }
    let spec = volume.spec.as_ref();
    match spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) {
        Some("Delete") => delete(view, &released, claim, plan, now),
        Some("Recycle") => {
            let message = "No recycler plugin found for the volume!";
            failed(&released, "VolumeFailedRecycle", message, &mut plan, now);
            let_go(volume, plan)
        }
        _ => let_go(volume, plan),
    }
}

fn delete(view: &View, volume: &PersistentVolume, claim: ClaimId, mut plan: Plan, now: Timestamp) -> Plan {
    let provisioned_by = volume.metadata.annotations.as_ref().and_then(|all| all.get(PROVISIONED_BY));
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let (name, uid) = name_and_uid(volume);
    match (provisioned_by, csi) {
        (Some(driver), Some(csi)) if *driver == csi.driver && view.has_driver(driver) => {
            let id = VolumeId(csi.volume_handle.clone());
            let with_failure = Box::new(in_phase(volume.clone(), "Failed", now));
            plan.steps.push(Step::ConfirmClaimGone(claim));
            plan.steps.push(Step::Remove { driver: driver.clone(), id, volume: with_failure });
            if !meta::is_terminating(&volume.metadata) {
                plan.steps.push(Step::DeleteVolume { name: name.clone(), uid: uid.clone() });
            }
            plan.steps.push(Step::ReleaseVolume { name, uid });
            plan
        }
        // Another driver's own provisioner removes it.
        (Some(_), _) => let_go(volume, plan),
        (None, _) => {
            let message = format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable \
                 volume plugin matched"
            );
            failed(volume, "VolumeFailedDelete", &message, &mut plan, now);
            let_go(volume, plan)
        }
    }
}

fn failed(volume: &PersistentVolume, reason: &'static str, message: &str, plan: &mut Plan, now: Timestamp) {
    if volume_phase(volume) == "Failed" {
        return;
    }
    let mut failed = in_phase(volume.clone(), "Failed", now);
    let status = failed.status.take().unwrap_or_default();
    failed.status = Some(PersistentVolumeStatus { message: Some(message.to_owned()), ..status });
    plan.steps.push(Step::VolumeStatus(Box::new(failed)));
    plan.steps.push(Step::tell(reference_to(volume), EventKind::Warning, reason, message));
}

/// Ends a plan: the volume is not bound, so that its object may go if that was asked for.
fn let_go(volume: &PersistentVolume, mut plan: Plan) -> Plan {
    let metadata = &volume.metadata;
    if meta::is_terminating(metadata) && meta::has_finalizer(metadata, VOLUME_PROTECTION) {
        let (name, uid) = name_and_uid(volume);
        plan.steps.push(Step::ReleaseVolume { name, uid });
    }
    plan
}

fn name_and_uid(volume: &PersistentVolume) -> (String, String) {
    let uid = volume.metadata.uid.clone().unwrap_or_default();
    (ObjectKey::of(volume).name, uid)
}
