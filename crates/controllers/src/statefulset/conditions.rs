//! The conditions of a set: whether it is available, and whether it is getting on. Pure.
//!
//! Both say what a plan waits for, in the plan's own words, so that `kubectl describe`, `why` and the
//! controller never tell different stories. `Available` is true while every wanted replica is; `Progressing`
//! is false only when something has to be mended before the set can go on. Conditions of others stay.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetCondition, StatefulSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::claims::ClaimNotReady;
use super::decision::{ClaimWrite, Plan, PodWrite, Step};
use super::rollout::Strategy;
use super::waiting::{NotReady, WaitingOn};
use model::stateful_set::replicas;

/// Every wanted replica is ready, for as long as the set asks for.
pub const AVAILABLE: &str = "Available";
/// Nothing has to be mended for the set to become what it should be.
pub const PROGRESSING: &str = "Progressing";

/// What one condition says.
struct Said {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// The conditions that go with a status.
pub fn of(
    set: &StatefulSet,
    plan: &Plan,
    status: &StatefulSetStatus,
    now: Timestamp,
) -> Option<Vec<StatefulSetCondition>> {
    let stored = set.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut conditions: Vec<StatefulSetCondition> =
        stored.iter().filter(|condition| !is_ours(condition)).cloned().collect();
    for said in [available(set, plan, status), progressing(set, plan, status)] {
        let before = stored.iter().find(|condition| condition.type_.as_deref() == Some(said.kind));
        let truth = if said.holds { "True" } else { "False" };
        let since = before
            .filter(|before| before.status.as_deref() == Some(truth))
            .and_then(|before| before.last_transition_time.clone());
        conditions.push(StatefulSetCondition {
            last_transition_time: since.or(Some(Time(now))),
            message: Some(said.message),
            reason: Some(said.reason.to_owned()),
            status: Some(truth.to_owned()),
            type_: Some(said.kind.to_owned()),
        });
    }
    Some(conditions)
}

/// True when one of our conditions says something else than the stored one.
pub fn are_news(stored: Option<&[StatefulSetCondition]>, now: Option<&[StatefulSetCondition]>) -> bool {
    differ(stored, now, |condition| (&condition.status, &condition.reason, &condition.message))
}

/// True when one of our conditions has become true or false.
pub fn have_turned(stored: Option<&[StatefulSetCondition]>, now: Option<&[StatefulSetCondition]>) -> bool {
    differ(stored, now, |condition| &condition.status)
}

fn differ<'a, T: PartialEq + 'a>(
    stored: Option<&'a [StatefulSetCondition]>,
    now: Option<&'a [StatefulSetCondition]>,
    what: impl Fn(&'a StatefulSetCondition) -> T,
) -> bool {
    let find = |all: Option<&'a [StatefulSetCondition]>, kind: &str| {
        all.unwrap_or_default().iter().find(|condition| condition.type_.as_deref() == Some(kind)).map(&what)
    };
    [AVAILABLE, PROGRESSING].iter().any(|kind| find(stored, kind) != find(now, kind))
}

fn is_ours(condition: &StatefulSetCondition) -> bool {
    condition.type_.as_deref().is_some_and(|kind| [AVAILABLE, PROGRESSING].contains(&kind))
}

fn available(set: &StatefulSet, plan: &Plan, status: &StatefulSetStatus) -> Said {
    let wanted = replicas(set);
    let available = status.available_replicas.unwrap_or_default().min(wanted);
    let holds = available == wanted && !plan.waiting_on.iter().any(is_about_a_missing_pod);
    let mut message = format!("{available} of {wanted} replicas are available");
    let reason = match plan.waiting_on.first().filter(|_| !holds) {
        Some(waiting) => {
            message = format!("{message}; waiting for {waiting}");
            reason_of(waiting)
        }
        None if holds => "ReplicasAvailable",
        None => "ReplicasUnavailable",
    };
    Said { kind: AVAILABLE, holds, reason, message }
}

/// Pods that are too many may make up for the number of available ones, but not for a pod that is missing.
fn is_about_a_missing_pod(waiting: &WaitingOn) -> bool {
    matches!(
        waiting,
        WaitingOn::ClaimTerminating { .. } | WaitingOn::StaleClaim { .. } | WaitingOn::NameTaken { .. }
    )
}

fn progressing(set: &StatefulSet, plan: &Plan, status: &StatefulSetStatus) -> Said {
    let said = |holds, reason, message| Said { kind: PROGRESSING, holds, reason, message };
    let is_recreating = Strategy::of(set) == Strategy::Recreate;
    if let Some(waiting) = plan.waiting_on.first() {
        let holds = !has_to_be_mended(waiting);
        let reason = if is_recreating && holds { "RecreateInProgress" } else { reason_of(waiting) };
        return said(holds, reason, format!("waiting for {waiting}"));
    }
    if !plan.steps.is_empty() || !plan.prepare.is_empty() {
        let is_claims_only = |step: &Step| {
            let changes = step.claims.iter().any(|write| matches!(write, ClaimWrite::Update(_)));
            (changes && step.write == PodWrite::None) || matches!(step.write, PodWrite::Relabel { .. })
        };
        if plan.prepare.is_empty() && plan.steps.iter().all(is_claims_only) {
            return said(true, "ClaimsChanging", "claims are being brought to their templates".to_owned());
        }
        let reason = if is_recreating { "RecreateInProgress" } else { "PodsChanging" };
        return said(true, reason, "pods are being made, replaced or removed".to_owned());
    }
    let reason = if is_recreating { "RecreateComplete" } else { "Complete" };
    let outdated = status.replicas - status.updated_replicas.unwrap_or_default();
    let message = match outdated {
        0 => "every replica is as the template says".to_owned(),
        outdated => format!("{outdated} replicas stay at an older revision, as the update strategy asks"),
    };
    said(true, reason, message)
}

fn reason_of(waiting: &WaitingOn) -> &'static str {
    match waiting {
        WaitingOn::PodNotReady { detail, .. } => match detail {
            NotReady::NotScheduled { .. } => "PodNotScheduled",
            NotReady::VolumeNotBound { .. } => "VolumeNotBound",
            NotReady::ContainerWaiting { reason, .. } => match reason.as_str() {
                "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                    "ImagePullFailed"
                }
                "CrashLoopBackOff" => "PodCrashing",
                "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                    "ContainerNotCreated"
                }
                _ => "PodNotReady",
            },
            _ => "PodNotReady",
        },
        WaitingOn::PodNotAvailable { .. } => "PodNotAvailable",
        WaitingOn::PodTerminating { .. } => "PodTerminating",
        WaitingOn::ClaimTerminating { .. } => "ClaimTerminating",
        WaitingOn::ClaimNotReady { detail, .. } => match detail {
            ClaimNotReady::GrowthFailed { .. } => "ClaimResizeFailed",
            ClaimNotReady::ModificationFailed { .. } => "ClaimModificationFailed",
            _ => "ClaimNotReady",
        },
        WaitingOn::ClaimCannotGrow { .. } => "ClaimCannotGrow",
        WaitingOn::ClaimDiffers { .. } => "ClaimDiffers",
        WaitingOn::StaleClaim { .. } => "StaleClaim",
        WaitingOn::NameTaken { .. } => "NameTaken",
        WaitingOn::BackOff { .. } => "BackOff",
        WaitingOn::Primary { .. } => "WaitingForPrimary",
        WaitingOn::Paused => "Paused",
        WaitingOn::SetBeingDeleted => "SetBeingDeleted",
        WaitingOn::InvalidSet { .. } => "InvalidSet",
    }
}

/// True where time alone does not help, as far as one can tell.
fn has_to_be_mended(waiting: &WaitingOn) -> bool {
    match waiting {
        WaitingOn::PodNotReady { .. } => reason_of(waiting) != "PodNotReady",
        WaitingOn::ClaimNotReady { detail, .. } => detail.has_failed(),
        WaitingOn::NameTaken { .. }
        | WaitingOn::ClaimCannotGrow { .. }
        | WaitingOn::ClaimDiffers { .. }
        | WaitingOn::BackOff { .. }
        | WaitingOn::Paused
        | WaitingOn::InvalidSet { .. } => true,
        WaitingOn::PodNotAvailable { .. }
        | WaitingOn::PodTerminating { .. }
        | WaitingOn::ClaimTerminating { .. }
        | WaitingOn::StaleClaim { .. }
        | WaitingOn::Primary { .. }
        | WaitingOn::SetBeingDeleted => false,
    }
}
