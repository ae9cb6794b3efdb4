//! Plans as values: what to write and what to say, in their order.
//!
//! A plan is decided about one key; [`super::binding`], [`super::reclaim`] and [`super::ephemeral`] decide,
//! purely. Every step may be the last one before a crash: what follows from the world that it leaves behind
//! is the rest of the same plan.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use storage::driver::{CreateVolume, VolumeId};

use super::view::View;
use super::{Key, binding, ephemeral, reclaim};
use reconcile::recorder::EventKind;
use reconcile::runner::ObjectKey;

/// Something to tell people.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// About what.
    pub about: ObjectReference,
    /// How bad it is.
    pub kind: EventKind,
    /// The event's reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

/// A claim as it was known: names it and tells it from another of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimId {
    /// Its names.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
}

/// A volume to be made by a driver, and the object that will stand for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Provision {
    /// The driver's name.
    pub driver: String,
    /// What it is asked for.
    pub request: CreateVolume,
    /// The object, but for what only the driver can say ([`super::provision::complete`]).
    pub volume: PersistentVolume,
    /// The claim, for events about it.
    pub about: ObjectReference,
    /// The claim's class, for messages.
    pub class: String,
    /// The claim without its chosen node, to be written when the driver has no room there, so that the
    /// scheduler chooses anew. `None` where no scheduler is asked.
    pub without_node: Option<Box<PersistentVolumeClaim>>,
}

/// One step of a plan. Objects to be written carry the version that was decided about.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Write a volume; its status stays.
    Volume(Box<PersistentVolume>),
    /// Write a volume's status alone.
    VolumeStatus(Box<PersistentVolume>),
    /// Write a claim; its status stays.
    Claim(Box<PersistentVolumeClaim>),
    /// Write a claim's status alone.
    ClaimStatus(Box<PersistentVolumeClaim>),
    /// Make a claim; one of that name that is there already is for the next decision.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Have a volume made, and then its object.
    Provision(Box<Provision>),
    /// Go on only if the API itself, past every view, knows no such claim any more.
    ConfirmClaimGone(ClaimId),
    /// Go on only if the API itself, past every view, knows no such volume any more.
    ConfirmVolumeGone {
        /// Its name.
        name: String,
    },
    /// Tell people what the steps before have done.
    Tell(Notice),
    /// Have a volume and its content removed, if its object still is the one that was decided about and
    /// still says so; what goes wrong is written into its status.
    Remove {
        /// The driver's name.
        driver: String,
        /// The driver's own name of the volume.
        id: VolumeId,
        /// Its object.
        volume: Box<PersistentVolume>,
    },
    /// Delete a volume's object.
    DeleteVolume {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Let go of a volume's object that is to be deleted.
    ReleaseVolume {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Let go of a claim that is to be deleted, if no pod of the API itself uses it.
    ReleaseClaim(ClaimId),
}

impl Step {
    pub(super) fn tell(
        about: ObjectReference,
        kind: EventKind,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Step {
        Step::Tell(Notice { about, kind, reason, message: message.into() })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        match self {
            Step::Volume(volume) => write!(formatter, "write volume {}", name(&volume.metadata.name)),
            Step::VolumeStatus(volume) => {
                let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
                let phase = phase.unwrap_or_default();
                write!(formatter, "write volume {} {phase}", name(&volume.metadata.name))
            }
            Step::Claim(claim) => write!(formatter, "write claim {}", name(&claim.metadata.name)),
            Step::ClaimStatus(claim) => {
                let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
                let phase = phase.unwrap_or_default();
                write!(formatter, "write claim {} {phase}", name(&claim.metadata.name))
            }
            Step::CreateClaim(claim) => write!(formatter, "create claim {}", name(&claim.metadata.name)),
            Step::Provision(provision) => {
                write!(formatter, "provision {} by {}", provision.request.name, provision.driver)
            }
            Step::ConfirmClaimGone(claim) => write!(formatter, "confirm that claim {} is gone", claim.key),
            Step::ConfirmVolumeGone { name } => write!(formatter, "confirm that volume {name} is gone"),
            Step::Tell(notice) => write!(formatter, "say {}: {}", notice.reason, notice.message),
            Step::Remove { driver, id, .. } => write!(formatter, "have {} removed by {driver}", id.0),
            Step::DeleteVolume { name, .. } => write!(formatter, "delete volume {name}"),
            Step::ReleaseVolume { name, .. } => write!(formatter, "let go of volume {name}"),
            Step::ReleaseClaim(claim) => write!(formatter, "let go of claim {}", claim.key),
        }
    }
}

/// What to do about one key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What to say, first.
    pub notices: Vec<Notice>,
    /// What to do, in this order; an error ends the plan.
    pub steps: Vec<Step>,
    /// The volume that no other claim is to choose meanwhile.
    pub reserve: Option<String>,
    /// When to decide again though nothing has changed.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to do.
    pub fn is_quiet(&self) -> bool {
        self.notices.is_empty() && self.steps.is_empty()
    }

    /// True when a driver is asked for a volume.
    pub fn provisions(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Provision(_)))
    }

    pub(super) fn tell(
        &mut self,
        about: ObjectReference,
        kind: EventKind,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.notices.push(Notice { about, kind, reason, message: message.into() });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let notices = self.notices.iter().map(|notice| format!("say {}: {}", notice.reason, notice.message));
        let all: Vec<String> = notices.chain(self.steps.iter().map(ToString::to_string)).collect();
        formatter.write_str(&all.join("; "))
    }
}

/// Decides about a key.
pub fn plan(view: &View, key: &Key, now: Timestamp) -> Plan {
    match key {
        Key::Claim(key) => binding::plan(view, key, now),
        Key::Volume(name) => reclaim::plan(view, name, now),
        Key::Pod(key) => ephemeral::plan(view, key),
    }
}
