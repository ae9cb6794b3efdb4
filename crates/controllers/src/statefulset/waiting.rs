//! What a set waits for, as values. Conditions, `why` and people read the same reasons.

use std::fmt;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::{Deserialize, Serialize};

use super::claims::ClaimNotReady;
use super::view::{PodEntry, SetView};

/// One thing that has to happen before the set goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason")]
pub enum WaitingOn {
    /// A pod is not running, or not ready.
    PodNotReady {
        /// Its name.
        pod: String,
        /// Since when it has been as it is, where its status says so.
        since: Option<Timestamp>,
        /// What it waits for itself.
        detail: NotReady,
    },
    /// A pod is ready, but not for `minReadySeconds` yet.
    PodNotAvailable {
        /// Its name.
        pod: String,
        /// When it will be, if it stays ready; unknown where its status does not say since when it is.
        until: Option<Timestamp>,
    },
    /// A pod is being deleted and has to be gone first.
    PodTerminating {
        /// Its name.
        pod: String,
        /// When its grace period ends.
        until: Option<Timestamp>,
    },
    /// A claim is being deleted and has to be gone before its pod is made.
    ClaimTerminating {
        /// The claim's name.
        claim: String,
        /// The pod's name.
        pod: String,
    },
    /// A claim that was changed is not what it should be yet.
    ClaimNotReady {
        /// The claim's name.
        claim: String,
        /// The pod's name.
        pod: String,
        /// What it lacks.
        detail: ClaimNotReady,
    },
    /// A claim is to grow, and its class does not let volumes grow.
    ClaimCannotGrow {
        /// The claim's name.
        claim: String,
        /// The pod's name.
        pod: String,
        /// The class; empty where it has none.
        class: String,
    },
    /// A claim differs from its template in what cannot change on a live claim.
    ClaimDiffers {
        /// The claim's name.
        claim: String,
        /// The pod's name.
        pod: String,
        /// The field of its specification.
        field: String,
    },
    /// A claim still belongs to an earlier pod of the name and is about to be collected.
    StaleClaim {
        /// The claim's name.
        claim: String,
        /// The pod's name.
        pod: String,
    },
    /// A pod that does not belong to the set bears the name of one that it needs.
    NameTaken {
        /// The name.
        pod: String,
        /// Who owns it: kind and name, where somebody does.
        owner: Option<String>,
    },
    /// A pod ended again and again and is not replaced at once any more.
    BackOff {
        /// Its name.
        pod: String,
        /// How many ended before it.
        failures: u32,
        /// When it is replaced.
        until: Timestamp,
    },
    /// The primary is to go, and another pod can still take its label.
    Primary {
        /// Its name.
        pod: String,
        /// When it goes in any case.
        until: Timestamp,
    },
    /// The rolling update is paused by its specification.
    Paused,
    /// The set is being deleted; what it owns goes by garbage collection.
    SetBeingDeleted,
    /// The set cannot be acted on as it is written.
    InvalidSet {
        /// What is wrong.
        message: String,
    },
}

/// Why a pod is not ready, as far as its status tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why")]
pub enum NotReady {
    /// It has no node.
    NotScheduled {
        /// What the scheduler said.
        message: String,
    },
    /// It has no node because a claim of it is not bound.
    VolumeNotBound {
        /// The claim's name.
        claim: String,
        /// What the scheduler said.
        message: String,
    },
    /// A container waits to be started, for this reason (`CrashLoopBackOff`, `ImagePullBackOff`, …).
    ContainerWaiting {
        /// Its name.
        container: String,
        /// The runtime's reason.
        reason: String,
        /// The runtime's words.
        message: String,
        /// How often it was started again.
        restarts: i32,
    },
    /// A container has ended.
    ContainerTerminated {
        /// Its name.
        container: String,
        /// Its exit code.
        exit_code: i32,
    },
    /// A container runs and its startup probe has not succeeded yet.
    ContainerNotStarted {
        /// Its name.
        container: String,
    },
    /// A container runs and its readiness probe does not succeed.
    ContainerNotReady {
        /// Its name.
        container: String,
    },
    /// A readiness gate of the pod is not met.
    ReadinessGate {
        /// The condition's type.
        condition: String,
    },
    /// Its phase is all that is known.
    Phase {
        /// The phase.
        phase: String,
    },
}

impl WaitingOn {
    /// Waiting for a pod to become ready.
    pub fn not_ready(view: &SetView<'_>, entry: &PodEntry) -> WaitingOn {
        let condition = model::pod::condition(&entry.pod, "Ready");
        let since = condition.and_then(|condition| condition.last_transition_time.as_ref());
        let created = entry.pod.metadata.creation_timestamp.as_ref();
        WaitingOn::PodNotReady {
            pod: entry.name().to_owned(),
            since: since.or(created).map(|time| time.0),
            detail: why_not_ready(view, &entry.pod),
        }
    }

    /// Waiting for a pod to have been ready for long enough.
    pub fn not_available(entry: &PodEntry, min_ready_seconds: i32) -> WaitingOn {
        let until = entry.available_from(min_ready_seconds);
        WaitingOn::PodNotAvailable { pod: entry.name().to_owned(), until }
    }

    /// Waiting for a pod to be gone.
    pub fn terminating(entry: &PodEntry) -> WaitingOn {
        let until = entry.pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        WaitingOn::PodTerminating { pod: entry.name().to_owned(), until }
    }

    /// When the wait is over whatever happens, where time alone ends it.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self {
            WaitingOn::BackOff { until, .. } | WaitingOn::Primary { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Waiting for a name to be free, where somebody has it.
    pub fn name_taken(view: &SetView<'_>, pod_name: &str) -> Option<WaitingOn> {
        let holder = view.pod_named(pod_name)?;
        let owner = model::meta::controller_of(&holder.metadata);
        let owner = owner.map(|owner| format!("{} {}", owner.kind, owner.name));
        Some(WaitingOn::NameTaken { pod: pod_name.to_owned(), owner })
    }
}

fn why_not_ready(view: &SetView<'_>, pod: &Pod) -> NotReady {
    let unscheduled = model::pod::condition(pod, "PodScheduled");
    if let Some(condition) = unscheduled.filter(|condition| condition.status == "False") {
        let message = condition.message.clone().unwrap_or_default();
        // A claim that waits for its first pod is not bound either, whatever keeps that pod from a node.
        let is_about_volumes = message.to_lowercase().contains("volume");
        return match unbound_claim(view, pod).filter(|_| is_about_volumes) {
            Some(claim) => NotReady::VolumeNotBound { claim, message },
            None => NotReady::NotScheduled { message },
        };
    }
    let status = pod.status.as_ref();
    let first = status.and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let pending = first.iter().filter(|container| !has_done_its_part(container));
    if let Some(reason) = pending.chain(main.iter()).find_map(why_container_not_ready) {
        return reason;
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let unmet = gates.iter().find(|gate| {
        let condition = model::pod::condition(pod, &gate.condition_type);
        condition.is_none_or(|condition| condition.status != "True")
    });
    match unmet.filter(|_| !main.is_empty()) {
        Some(gate) => NotReady::ReadinessGate { condition: gate.condition_type.clone() },
        None => NotReady::Phase { phase: model::pod::phase(pod).to_owned() },
    }
}

/// A claim that the pod mounts and that is not there or not bound.
fn unbound_claim(view: &SetView<'_>, pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    let is_bound = |name: &str| {
        let status = view.claim(name).and_then(|claim| claim.status.as_ref());
        status.and_then(|status| status.phase.as_deref()) == Some("Bound")
    };
    names.map(|source| source.claim_name.clone()).find(|name| !is_bound(name))
}

/// True for an init container that need not run any more.
fn has_done_its_part(container: &ContainerStatus) -> bool {
    let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0) || container.ready
}

fn why_container_not_ready(container: &ContainerStatus) -> Option<NotReady> {
    if container.ready {
        return None;
    }
    let name = container.name.clone();
    let state = container.state.as_ref();
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        return Some(NotReady::ContainerWaiting {
            container: name,
            reason: waiting.reason.clone().unwrap_or_default(),
            message: waiting.message.clone().unwrap_or_default(),
            restarts: container.restart_count,
        });
    }
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return Some(NotReady::ContainerTerminated { container: name, exit_code: ended.exit_code });
    }
    if container.started == Some(false) {
        return Some(NotReady::ContainerNotStarted { container: name });
    }
    Some(NotReady::ContainerNotReady { container: name })
}

/// Times as people read them: whole seconds, rounded up so that what is announced has not come yet then.
fn second(time: Timestamp) -> Timestamp {
    let round = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    time.round(round).unwrap_or(time)
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitingOn::PodNotReady { pod, since, detail } => {
                write!(formatter, "pod {pod} to be ready: {detail}")?;
                since.map_or(Ok(()), |since| write!(formatter, ", since {}", second(since)))
            }
            WaitingOn::PodNotAvailable { pod, until: Some(until) } => {
                write!(formatter, "pod {pod} to be available, at {} if it stays ready", second(*until))
            }
            WaitingOn::PodNotAvailable { pod, until: None } => {
                write!(formatter, "pod {pod} to be available; it does not say since when it is ready")
            }
            WaitingOn::PodTerminating { pod, .. } => write!(formatter, "pod {pod} to be gone"),
            WaitingOn::ClaimTerminating { claim, pod } => {
                write!(formatter, "claim {claim} of pod {pod} to be gone: it is being deleted")
            }
            WaitingOn::ClaimNotReady { claim, pod, detail } => {
                write!(formatter, "claim {claim} of pod {pod} to be ready: {detail}")
            }
            WaitingOn::ClaimCannotGrow { claim, pod, class } => {
                let what = match class.as_str() {
                    "" => "it has no class".to_owned(),
                    class => format!("its class {class} does not let volumes grow"),
                };
                write!(formatter, "claim {claim} of pod {pod} to be able to grow: {what}")
            }
            WaitingOn::ClaimDiffers { claim, pod, field } => {
                write!(
                    formatter,
                    "claim {claim} of pod {pod} to be replaced: its {field} is not its template's"
                )
            }
            WaitingOn::StaleClaim { claim, pod } => {
                write!(formatter, "claim {claim} to be collected: it belongs to an earlier pod {pod}")
            }
            WaitingOn::NameTaken { pod, owner: Some(owner) } => {
                write!(formatter, "the name {pod} to be free: the pod of that name belongs to {owner}")
            }
            WaitingOn::NameTaken { pod, owner: None } => {
                write!(formatter, "the name {pod} to be free: the pod of that name is not the set's")
            }
            WaitingOn::BackOff { pod, failures, until } => {
                let until = second(*until);
                write!(formatter, "pod {pod} to be replaced at {until}: {failures} before it ended too")
            }
            WaitingOn::Primary { pod, until } => {
                let until = second(*until);
                write!(formatter, "another pod to become primary in place of {pod}, until {until}")
            }
            WaitingOn::Paused => formatter.write_str("the rolling update to be resumed: it is paused"),
            WaitingOn::SetBeingDeleted => formatter.write_str("the set to be gone: it is being deleted"),
            WaitingOn::InvalidSet { message } => write!(formatter, "the set to be corrected: {message}"),
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::NotScheduled { message } => write!(formatter, "it has no node ({message})"),
            NotReady::VolumeNotBound { claim, message } => {
                write!(formatter, "its claim {claim} is not bound ({message})")
            }
            // Not how often it was started again: a condition would be written anew each time.
            NotReady::ContainerWaiting { container, reason, .. } => {
                write!(formatter, "container {container} waits ({reason})")
            }
            NotReady::ContainerTerminated { container, exit_code } => {
                write!(formatter, "container {container} ended with code {exit_code}")
            }
            NotReady::ContainerNotStarted { container } => {
                write!(formatter, "container {container} has not passed its startup probe")
            }
            NotReady::ContainerNotReady { container } => {
                write!(formatter, "container {container} does not pass its readiness probe")
            }
            NotReady::ReadinessGate { condition } => {
                write!(formatter, "its readiness gate {condition} is not met")
            }
            NotReady::Phase { phase } if phase.is_empty() => formatter.write_str("it has no phase yet"),
            NotReady::Phase { phase } => write!(formatter, "it is {phase}"),
        }
    }
}
