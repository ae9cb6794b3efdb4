//! The conditions of a set: whether it is available, and whether it is getting on. Pure.
//!
//! Both say what a plan waits for, in the plan's own words, so that `kubectl describe`, `why` and the
//! controller never tell different stories. `Available` is true while every wanted replica is, and during a
//! rolling update while no more are away than it may take at once; `Progressing` is false only when something
//! has to be mended before the set can go on. Conditions of others stay.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetCondition, StatefulSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::claims::ClaimNotReady;
use super::decision::{ClaimWrite, DeleteReason, Plan, PodWrite, Step};
use super::rollout::{self, Strategy};
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
    let enough = wanted - unavailable_by_update(set, status, wanted);
    let holds = available >= enough && !plan.waiting_on.iter().any(is_about_a_missing_pod);
    let mut message = format!("{available} of {wanted} replicas are available");
    if holds && available < wanted {
        message = format!("{message}, as many as the update strategy asks for during the update");
        if let Some(waiting) = plan.waiting_on.first() {
            message = format!("{message}; waiting for {waiting}");
        }
        return Said { kind: AVAILABLE, holds, reason: "MinimumReplicasAvailable", message };
    }
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

/// How many replicas a rolling update that is under way may take away at once: they make the set no less
/// available than it was asked to be. The last one that is left never counts among them.
fn unavailable_by_update(set: &StatefulSet, status: &StatefulSetStatus, wanted: i32) -> i32 {
    let partition = rollout::partition(set).unwrap_or_default();
    let is_under_way = match partition {
        0 => status.update_revision != status.current_revision,
        partition => status.updated_replicas.unwrap_or_default() < wanted.saturating_sub(partition),
    };
    if Strategy::of(set) != Strategy::RollingUpdate || !is_under_way {
        return 0;
    }
    let most = i32::try_from(rollout::max_unavailable(set, wanted)).unwrap_or(i32::MAX);
    most.min(wanted - 1).max(0)
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
    let is_broken = |step: &&Step| matches!(step.write, PodWrite::Delete { why: DeleteReason::Broken, .. });
    if let Some(step) = plan.steps.iter().find(is_broken) {
        let message = format!("pod {} is replaced at once: it is outdated and was never ready", step.pod);
        return said(true, "ReplacingBrokenPods", message);
    }
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
