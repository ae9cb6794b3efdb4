//! Claims: which volume each gets, in which order that is written, and when a claim may go.
//!
//! The order is that of upstream's binder: the volume's reference with the claim's uid, the volume's phase,
//! the claim's `volumeName` with its annotations, the claim's status. Whatever a crash leaves, the next
//! plan is the rest: a volume that refers to a claim is promised to it. Pure; read next [`super::matching`],
//! [`super::provision`].

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, PersistentVolumeStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::meta;

use super::matching::{self, claim_class, claim_of, selected_node, volume_name, volume_phase};
use super::plan::{ClaimId, Plan, Step};
use super::view::{self, View};
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, CLAIM_PROTECTION, provision};
use reconcile::recorder::{EventKind, reference_to};
use reconcile::runner::ObjectKey;

/// When a claim looks again that found the only volumes that fit promised to others by plans under way.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Decides about a claim.
pub fn plan(view: &View, key: &ObjectKey, now: Timestamp) -> Plan {
    let Some(claim) = view.claim(key) else { return Plan::default() };
    if meta::is_terminating(&claim.metadata) {
        return release(view, claim);
    }
    match (is_complete(claim), volume_name(claim)) {
        (true, name) => complete(view, claim, name, now),
        (false, Some(name)) => named(view, claim, name, now),
        (false, None) => unnamed(view, claim, now),
    }
}

/// True when both sides of a claim's binding were written.
pub fn is_complete(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(BIND_COMPLETED))
}

/// Names a claim and its uid.
pub fn id_of(claim: &PersistentVolumeClaim) -> ClaimId {
    ClaimId { key: ObjectKey::of(claim), uid: claim.metadata.uid.clone().unwrap_or_default() }
}

/// A claim that is to be deleted stays until no pod uses it.
fn release(view: &View, claim: &PersistentVolumeClaim) -> Plan {
    let mut plan = Plan::default();
    let id = id_of(claim);
    let is_used = view.pods_of(&id.key).any(|pod| view::uses(pod, claim));
    if meta::has_finalizer(&claim.metadata, CLAIM_PROTECTION) && !is_used {
        plan.steps.push(Step::ReleaseClaim(id));
    }
    plan
}

/// A claim whose binding was written must still have its volume.
fn complete(view: &View, claim: &PersistentVolumeClaim, name: Option<&str>, now: Timestamp) -> Plan {
    let Some(name) = name else {
        let why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost(claim, None, "ClaimLost", why);
    };
    let Some(volume) = view.volume(name) else {
        let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lost(claim, Some(name), "ClaimLost", why);
    };
    match claim_of(volume) {
        Some((_, reference)) if !matching::is_meant(reference, claim) => {
            let why = "Two claims are bound to the same volume, this one is bound incorrectly";
            lost(claim, None, "ClaimMisbound", why)
        }
        _ => bind(claim, volume, now),
    }
}

fn lost(claim: &PersistentVolumeClaim, gone: Option<&str>, reason: &'static str, why: &'static str) -> Plan {
    let mut plan = Plan::default();
    if phase(claim) == "Lost" {
        return plan;
    }
    plan.steps.extend(gone.map(|name| Step::ConfirmVolumeGone { name: name.to_owned() }));
    let mut lost = claim.clone();
    lost.status = Some(PersistentVolumeClaimStatus {
        phase: Some("Lost".to_owned()),
        ..claim.status.clone().unwrap_or_default()
    });
    plan.steps.push(Step::ClaimStatus(Box::new(lost)));
    plan.steps.push(Step::tell(reference_to(claim), EventKind::Warning, reason, why));
    plan
}

/// A claim that names its volume gets that one or none.
fn named(view: &View, claim: &PersistentVolumeClaim, name: &str, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(volume) = view.volume(name) else { return pending(plan, claim) };
    if meta::is_terminating(&volume.metadata) {
        return pending(plan, claim);
    }
    let about = reference_to(claim);
    match claim_of(volume) {
        Some((_, reference)) if matching::is_meant(reference, claim) => bind(claim, volume, now),
        Some(_) => {
            let message = format!("volume \"{name}\" already bound to a different claim.");
            plan.tell(about, EventKind::Warning, "FailedBinding", message);
            pending(plan, claim)
        }
        None => {
            if let Some(why) = matching::mismatch(claim, volume) {
                let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                plan.tell(about, EventKind::Warning, "VolumeMismatch", message);
                return pending(plan, claim);
            }
            if view.is_reserved_for_another(name, &ObjectKey::of(claim)) {
                plan.requeue_after = Some(LOOK_AGAIN);
                return plan;
            }
            Plan { reserve: Some(name.to_owned()), ..bind(claim, volume, now) }
        }
    }
}

/// A claim that leaves the choice gets a volume promised to it, the smallest that fits, or a new one.
fn unnamed(view: &View, claim: &PersistentVolumeClaim, now: Timestamp) -> Plan {
    if let Some(volume) = matching::promised(view, claim) {
        return bind(claim, volume, now);
    }
    let class_name = claim_class(claim);
    let class = view.class(class_name);
    let waits =
        class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let node = selected_node(claim).filter(|_| waits);
    if waits && node.is_none() {
        return wait_for_consumer(view, claim);
    }
    match matching::best(view, claim, node) {
        matching::Choice::Volume(volume) => {
            let reserve = volume.metadata.name.clone();
            return Plan { reserve, ..bind(claim, volume, now) };
        }
        matching::Choice::Reserved => {
            return Plan { requeue_after: Some(LOOK_AGAIN), ..Plan::default() };
        }
        matching::Choice::None => {}
    }
    let mut plan = Plan::default();
    if class_name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        plan.tell(reference_to(claim), EventKind::Normal, "FailedBinding", message);
    } else {
        provision::plan(view, claim, class_name, class.map(|class| &**class), node, &mut plan);
    }
    pending(plan, claim)
}

fn wait_for_consumer(view: &View, claim: &PersistentVolumeClaim) -> Plan {
    let mut plan = Plan::default();
    let waiting: Vec<&str> = view
        .pods_of(&ObjectKey::of(claim))
        .filter(|pod| model::pod::node_name(pod).is_none() && !model::pod::is_failed_or_succeeded(pod))
        .filter_map(|pod| pod.metadata.name.as_deref())
        .collect();
    let (reason, message) = match waiting.as_slice() {
        [] => {
            let message = "waiting for first consumer to be created before binding".to_owned();
            ("WaitForFirstConsumer", message)
        }
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    };
    plan.tell(reference_to(claim), EventKind::Normal, reason, message);
    pending(plan, claim)
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn pending(mut plan: Plan, claim: &PersistentVolumeClaim) -> Plan {
    if phase(claim) != "Pending" {
        let mut pending = claim.clone();
        pending.status.get_or_insert_default().phase = Some("Pending".to_owned());
        plan.steps.push(Step::ClaimStatus(Box::new(pending)));
    }
    plan
}

/// The writes of a binding that are not there yet, in the order that a crash may cut anywhere.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let bound_volume = refer(claim, volume);
    if bound_volume != *volume {
        plan.steps.push(Step::Volume(Box::new(bound_volume.clone())));
    }
    if volume_phase(volume) != "Bound" {
        plan.steps.push(Step::VolumeStatus(Box::new(in_phase(bound_volume, "Bound", now))));
    }
    let mut bound_claim = name(claim, volume);
    if bound_claim != *claim {
        plan.steps.push(Step::Claim(Box::new(bound_claim.clone())));
    }
    let status = bound_status(claim, volume);
    if claim.status.as_ref() != Some(&status) {
        bound_claim.status = Some(status);
        plan.steps.push(Step::ClaimStatus(Box::new(bound_claim)));
    }
    plan
}

/// The volume with its reference to the claim.
fn refer(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> PersistentVolume {
    let mut bound = volume.clone();
    let reference = claim_of(volume).map(|(_, reference)| reference);
    if reference.is_none() {
        annotate(&mut bound.metadata.annotations, BOUND_BY_CONTROLLER);
    }
    if reference.is_none_or(|reference| reference.uid != claim.metadata.uid) {
        bound.spec.get_or_insert_default().claim_ref = Some(reference_to(claim));
    }
    bound
}

/// The claim with its volume's name.
fn name(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> PersistentVolumeClaim {
    let mut bound = claim.clone();
    if volume_name(claim).is_none() {
        bound.spec.get_or_insert_default().volume_name = volume.metadata.name.clone();
        annotate(&mut bound.metadata.annotations, BOUND_BY_CONTROLLER);
    }
    annotate(&mut bound.metadata.annotations, BIND_COMPLETED);
    bound
}

/// The status of a bound claim. A capacity once told is left to whoever lets the volume grow.
fn bound_status(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> PersistentVolumeClaimStatus {
    let mut status = claim.status.clone().unwrap_or_default();
    let spec = volume.spec.clone().unwrap_or_default();
    if status.phase.as_deref() != Some("Bound") || status.capacity.is_none() {
        status.capacity = spec.capacity;
    }
    status.phase = Some("Bound".to_owned());
    status.access_modes = spec.access_modes;
    status
}

fn annotate(annotations: &mut Option<std::collections::BTreeMap<String, String>>, key: &str) {
    annotations.get_or_insert_default().entry(key.to_owned()).or_insert_with(|| "yes".to_owned());
}

/// A volume in a phase that it enters now.
pub fn in_phase(mut volume: PersistentVolume, phase: &str, now: Timestamp) -> PersistentVolume {
    volume.status = Some(PersistentVolumeStatus {
        phase: Some(phase.to_owned()),
        last_phase_transition_time: Some(Time(now)),
        ..PersistentVolumeStatus::default()
    });
    volume
}
