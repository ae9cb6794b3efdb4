//! What to say about a node: pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::view::Entry;

/// How long a node may be silent: four renewals of its Lease, at one in ten seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(40);

/// Conditions of which only the agent knows.
const THE_AGENTS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const UNKNOWN: &str = "Unknown";

/// What to do about a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Its conditions, if they must be written.
    pub conditions: Option<Vec<NodeCondition>>,
    /// True when it was ready before.
    pub was_ready: bool,
    /// When to look again if it is not heard of.
    pub requeue_after: Option<Duration>,
}

/// Decides about a node.
pub fn plan(entry: &Entry, now: Timestamp) -> Plan {
    let silent = Duration::try_from(now.duration_since(entry.heard)).unwrap_or_default();
    if let Some(left) = SILENCE_MAX.checked_sub(silent).filter(|left| !left.is_zero()) {
        return Plan { requeue_after: Some(left), ..Plan::default() };
    }
    let status = entry.node.status.as_ref();
    let current = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = current.clone();
    for type_ in THE_AGENTS {
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(known) if known.status == UNKNOWN => {}
            Some(known) => {
                known.status = UNKNOWN.to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(Time(now));
            }
            None => conditions.push(NodeCondition {
                type_: type_.to_owned(),
                status: UNKNOWN.to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: entry.node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    let was_ready = current.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    Plan { conditions: (conditions != current).then_some(conditions), was_ready, requeue_after: None }
}
