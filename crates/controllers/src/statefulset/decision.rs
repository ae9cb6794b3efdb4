//! The plan as a value: what is to be done for a set, in which order, and what it waits for.
//!
//! A plan leaves no choice to whoever carries it out. It can be printed, stored and compared.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::ClaimUpdate;
use super::memory::Memory;
use super::view::REVISION_LABEL;
use super::waiting::WaitingOn;
use reconcile::recorder::EventKind;

/// What is to be done for one set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The set's namespace.
    pub namespace: String,
    /// The set's name.
    pub name: String,
    /// The set's uid.
    pub uid: String,
    /// First, one after the other; the first failure ends the execution.
    pub prepare: Vec<Preparation>,
    /// How the steps follow each other.
    pub pacing: Pacing,
    /// Then, at most one for an ordinal.
    pub steps: Vec<Step>,
    /// Then the status, if it has to be written; even if something failed before.
    pub status: Option<StatefulSetStatus>,
    /// At the end history, even if something failed before.
    pub forget: Vec<Preparation>,
    /// What to tell people that no write tells.
    pub notices: Vec<Notice>,
    /// What has to happen before more can be done; the first few where there are many.
    pub waiting_on: Vec<WaitingOn>,
    /// When time alone changes something.
    pub requeue_after: Option<Duration>,
    /// What is to be remembered, whatever comes of the writes.
    #[serde(skip)]
    pub memory: Memory,
}

/// How steps follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Pacing {
    /// One after the other, until one fails.
    #[default]
    InOrder,
    /// In batches of 1, 2, 4, … at once, until one batch has a failure.
    SlowStart,
}

/// A write that belongs to the set as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Preparation {
    /// Read the set anew, not from a view: it must be the same one and not be being deleted.
    ConfirmAlive,
    /// Make an orphan revision the set's.
    AdoptRevision {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Make an orphan pod the set's.
    AdoptPod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Let a pod go that the set does not select any more.
    ReleasePod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Record the template.
    CreateRevision {
        /// The revision.
        revision: Box<ControllerRevision>,
    },
    /// Make an older revision the newest: the template was rolled back to it.
    RaiseRevision {
        /// Its name.
        name: String,
        /// The version that was decided about.
        resource_version: String,
        /// Its new number.
        number: i64,
    },
    /// Keep ordinals free for good: `spec.reserveOrdinals`.
    Reserve {
        /// The whole field.
        ordinals: Value,
        /// The version of the set that was decided about.
        resource_version: String,
    },
    /// Delete a revision that nobody needs.
    DeleteRevision {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
}

/// Everything that is done for one ordinal: first its claims, then its pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The ordinal.
    pub ordinal: i32,
    /// The pod's name.
    pub pod: String,
    /// What happens to its claims.
    pub claims: Vec<ClaimWrite>,
    /// What happens to the pod.
    pub write: PodWrite,
}

/// A write of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClaimWrite {
    /// Make it.
    Create(Box<PersistentVolumeClaim>),
    /// Change who owns it, and nothing else.
    SetOwners(Box<PersistentVolumeClaim>),
    /// Bring it to a revision's template, as far as a live claim can change.
    Update(Box<ClaimUpdate>),
}

/// A write of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PodWrite {
    /// None: only claims change.
    None,
    /// Make it.
    Create(Box<Pod>),
    /// Repair its identity or storage.
    Update(Box<Pod>),
    /// Note the revision that it is at; its containers stay as they are.
    Relabel {
        /// Its uid: another pod of the name is not meant.
        uid: String,
        /// The revision.
        revision: String,
    },
    /// Delete it, gracefully.
    Delete {
        /// Its uid: another pod of the name is not meant.
        uid: String,
        /// The version that was decided about: a pod that got ready meanwhile, was orphaned, or became the
        /// primary must not go for what it was before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource_version: Option<String>,
        /// Why.
        why: DeleteReason,
    },
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteReason {
    /// Its containers have ended for good; a new one takes its place.
    Ended,
    /// The set has fewer ordinals now.
    ScaledDown,
    /// It is not at the update revision; a new one takes its place.
    Outdated,
    /// It is not at the update revision and was never ready.
    Broken,
}

/// Words for people, as an event about the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Information or warning.
    pub kind: EventKind,
    /// The event's reason.
    pub reason: String,
    /// The event's message.
    pub message: String,
}

impl Plan {
    /// True when nothing has to be written or told.
    pub fn is_quiet(&self) -> bool {
        !self.has_actions() && self.status.is_none() && self.notices.is_empty()
    }

    /// True when something other than the status has to be written.
    pub fn has_actions(&self) -> bool {
        !self.prepare.is_empty() || !self.steps.is_empty() || !self.forget.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_quiet() {
            writeln!(formatter, "nothing to do")?;
        }
        for preparation in &self.prepare {
            writeln!(formatter, "{preparation}")?;
        }
        for step in &self.steps {
            writeln!(formatter, "{step}")?;
        }
        if let Some(status) = &self.status {
            writeln!(formatter, "{}", StatusLine(status))?;
        }
        for preparation in &self.forget {
            writeln!(formatter, "{preparation}")?;
        }
        for notice in &self.notices {
            writeln!(formatter, "tell {:?} {}: {}", notice.kind, notice.reason, notice.message)?;
        }
        for waiting in &self.waiting_on {
            writeln!(formatter, "wait for {waiting}")?;
        }
        match self.requeue_after {
            Some(pause) => writeln!(formatter, "look again in {pause:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Preparation::ConfirmAlive => formatter.write_str("confirm that the set is alive"),
            Preparation::AdoptRevision { name, .. } => write!(formatter, "adopt revision {name}"),
            Preparation::AdoptPod { name, .. } => write!(formatter, "adopt pod {name}"),
            Preparation::ReleasePod { name, .. } => write!(formatter, "release pod {name}"),
            Preparation::CreateRevision { revision } => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                write!(
                    formatter,
                    "create revision {name} as number {}",
                    revision.revision.unwrap_or_default()
                )
            }
            Preparation::RaiseRevision { name, number, .. } => {
                write!(formatter, "raise revision {name} to number {number}")
            }
            Preparation::Reserve { ordinals, .. } => write!(formatter, "reserve ordinals {ordinals}"),
            Preparation::DeleteRevision { name, .. } => write!(formatter, "delete revision {name}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for claim in &self.claims {
            write!(formatter, "{separator}{claim}")?;
            separator = ", ";
        }
        match &self.write {
            PodWrite::None => Ok(()),
            PodWrite::Create(pod) => {
                let labels = pod.metadata.labels.as_ref();
                let revision = labels.and_then(|labels| labels.get(REVISION_LABEL));
                let revision = revision.map_or("", String::as_str);
                write!(formatter, "{separator}create pod {} at {revision}", self.pod)
            }
            PodWrite::Relabel { revision, .. } => {
                write!(formatter, "{separator}note that pod {} is at {revision}", self.pod)
            }
            PodWrite::Update(_) => write!(formatter, "{separator}update pod {}", self.pod),
            PodWrite::Delete { why, .. } => {
                let why = match why {
                    DeleteReason::Ended => "it has ended",
                    DeleteReason::ScaledDown => "scaled down",
                    DeleteReason::Outdated => "outdated",
                    DeleteReason::Broken => "outdated and never ready",
                };
                write!(formatter, "{separator}delete pod {} ({why})", self.pod)
            }
        }
    }
}

impl fmt::Display for ClaimWrite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claim = match self {
            ClaimWrite::Update(update) => return update.fmt(formatter),
            ClaimWrite::Create(claim) | ClaimWrite::SetOwners(claim) => claim,
        };
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
        let owners: Vec<String> =
            owners.iter().map(|owner| format!("{} {}", owner.kind, owner.name)).collect();
        match self {
            ClaimWrite::Create(_) if owners.is_empty() => write!(formatter, "create claim {name}"),
            ClaimWrite::Create(_) => write!(formatter, "create claim {name} owned by {}", owners.join(", ")),
            ClaimWrite::SetOwners(_) | ClaimWrite::Update(_) => {
                write!(formatter, "own claim {name} by [{}]", owners.join(", "))
            }
        }
    }
}

struct StatusLine<'a>(&'a StatefulSetStatus);

impl fmt::Display for StatusLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        write!(
            formatter,
            "status generation={} replicas={} ready={} available={} current={}@{} updated={}@{}",
            status.observed_generation.unwrap_or_default(),
            status.replicas,
            status.ready_replicas.unwrap_or_default(),
            status.available_replicas.unwrap_or_default(),
            status.current_replicas.unwrap_or_default(),
            status.current_revision.as_deref().unwrap_or_default(),
            status.updated_replicas.unwrap_or_default(),
            status.update_revision.as_deref().unwrap_or_default(),
        )?;
        match status.collision_count.unwrap_or_default() {
            0 => {}
            collisions => write!(formatter, " collisions={collisions}")?,
        }
        for condition in status.conditions.iter().flatten() {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (kind, holds) = (text(&condition.type_), text(&condition.status));
            write!(formatter, " {kind}={holds}/{}", text(&condition.reason))?;
        }
        Ok(())
    }
}
