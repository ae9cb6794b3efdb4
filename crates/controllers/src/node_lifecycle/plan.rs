//! What to say about a node: pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::taints;
use super::view::Entry;
use super::zones::Turn;

/// How long a node may be silent: four renewals of its Lease, at one in ten seconds.
pub const SILENCE_MAX: Duration = Duration::from_secs(40);

/// How long a pod of a silent node that calls itself ready again may do so. An agent that is there, and only
/// cannot renew its Lease, says it at once each time: without a pause the two write as fast as they can.
pub const CONTRADICTION_PAUSE: Duration = Duration::from_secs(10);

/// Conditions of which only the agent knows.
const THE_AGENTS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const UNKNOWN: &str = "Unknown";

/// Why a pod of a silent node is not ready, in its condition and in the event about it.
pub const NODE_NOT_READY: &str = "NodeNotReady";
/// The same for people.
pub const NODE_NOT_READY_MESSAGE: &str = "Node is not ready";

/// What to do about a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// It was not known before: people are told of it.
    pub is_new: bool,
    /// Its conditions, if they must be written.
    pub conditions: Option<Vec<NodeCondition>>,
    /// True when it was ready before.
    pub was_ready: bool,
    /// Its taints, if they must be written.
    pub taints: Option<Vec<Taint>>,
    /// It got the taint that makes pods go.
    pub took_turn: bool,
    /// Its pods that call themselves ready, as they must be written.
    pub pods: Vec<Pod>,
    /// When to look again if it is not heard of.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write or to tell.
    pub fn is_quiet(&self) -> bool {
        !self.is_new && self.conditions.is_none() && self.taints.is_none() && self.pods.is_empty()
    }
}

/// Decides about a node, whose pods that call themselves ready are `ready`.
pub fn plan<'a>(
    entry: &Entry,
    ready: impl Iterator<Item = &'a Arc<Pod>>,
    turn: Turn,
    now: Timestamp,
) -> Plan {
    let silent = Duration::try_from(now.duration_since(entry.heard)).unwrap_or_default();
    let mut plan = match SILENCE_MAX.checked_sub(silent).filter(|left| !left.is_zero()) {
        Some(left) => Plan { requeue_after: Some(left), ..Plan::default() },
        None => of_silent(entry, ready, now),
    };
    plan.is_new = entry.is_new;
    // Taints follow what is written: the next decision sees it.
    if plan.conditions.is_some() {
        return plan;
    }
    let wants_turn = taints::wants_turn(&entry.node);
    plan.taints = taints::wanted(&entry.node, turn, now);
    plan.took_turn = wants_turn && turn == Turn::Now;
    if let Turn::After(left) = turn
        && wants_turn
    {
        plan.requeue_after = Some(plan.requeue_after.map_or(left, |other| other.min(left)));
    }
    plan
}

fn of_silent<'a>(entry: &Entry, ready: impl Iterator<Item = &'a Arc<Pod>>, now: Timestamp) -> Plan {
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
    if conditions == current
        && let Some(left) = entry.contradicted.and_then(|said| pause_left(said, now))
    {
        return Plan { requeue_after: Some(left), ..Plan::default() };
    }
    let was_ready = current.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    let pods = ready.map(|pod| not_ready((**pod).clone(), now)).collect();
    let conditions = (conditions != current).then_some(conditions);
    Plan { conditions, was_ready, pods, ..Plan::default() }
}

/// What is left of the pause since the pods were last said not to be ready.
fn pause_left(said: Timestamp, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(said)).unwrap_or_default();
    CONTRADICTION_PAUSE.checked_sub(passed).filter(|left| !left.is_zero())
}

/// A pod of a silent node: it may run, but nobody knows.
fn not_ready(mut pod: Pod, now: Timestamp) -> Pod {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.reason = Some(NODE_NOT_READY.to_owned());
        condition.message = Some(NODE_NOT_READY_MESSAGE.to_owned());
        condition.last_transition_time = Some(Time(now));
    }
    pod
}
