//! Whether a pod may stay: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Toleration;
use model::meta;
use model::taint::{self, Stay};

use super::view::Guest;

/// What to do about a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// It must go now.
    pub evicts: bool,
    /// It was to go, and may stay now.
    pub spares: bool,
    /// It is to go later if nothing changes.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write or to tell.
    pub fn is_quiet(&self) -> bool {
        !self.evicts && !self.spares
    }
}

/// Decides about a pod.
pub fn plan(guest: &Guest<'_>, now: Timestamp) -> Plan {
    if meta::is_terminating(&guest.pod.metadata) {
        return Plan::default();
    }
    let spec = guest.pod.spec.as_ref();
    let tolerations = spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let ends = guest.taints.iter().map(|met| end(guest, met, tolerations));
    let Some(end) = ends.flatten().min() else {
        return Plan { spares: guest.was_to_go, ..Plan::default() };
    };
    match Duration::try_from(end.duration_since(now)) {
        Ok(left) if !left.is_zero() => Plan { requeue_after: Some(left), ..Plan::default() },
        _ => Plan { evicts: true, ..Plan::default() },
    }
}

/// When the pod must go because of one taint; `None` when never.
fn end(guest: &Guest<'_>, met: &super::view::Met, tolerations: &[Toleration]) -> Option<Timestamp> {
    let since = met.since.max(guest.since);
    match taint::stay(tolerations, std::iter::once(&met.taint)) {
        Stay::Not => Some(Timestamp::MIN),
        // A time that no clock reaches is never.
        Stay::Seconds(seconds) => since.checked_add(SignedDuration::from_secs(seconds)).ok(),
        Stay::Forever => None,
    }
}
