//! Which pods go first when there are too many. Pure.
//!
//! The order is upstream's: what costs least to lose goes first. Ages are compared by their magnitude, so
//! that among pods of about one age chance (the uid) decides and not always the youngest goes.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::pod;

/// What a pod costs to lose, as its owner says.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A place in the order: the smallest goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    is_assigned: bool,
    phase: u8,
    is_ready: bool,
    cost: i32,
    related_on_node: Reverse<usize>,
    ready_magnitude: Option<i64>,
    restarts: Reverse<i32>,
    age_magnitude: Option<i64>,
    uid: String,
}

/// The rank of a pod; `related_on_node` counts the pods of related sets on its node.
pub fn rank(of: &Pod, related_on_node: usize, now: Timestamp) -> Rank {
    let is_ready = pod::is_ready(of);
    let created = of.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Rank {
        is_assigned: pod::node_name(of).is_some(),
        phase: match pod::phase(of) {
            "Pending" | "" => 0,
            "Running" => 2,
            _ => 1,
        },
        is_ready,
        cost: cost(of),
        related_on_node: Reverse(related_on_node),
        ready_magnitude: pod::ready_since(of).filter(|_| is_ready).map(|since| magnitude(since, now)),
        restarts: Reverse(restarts(of)),
        age_magnitude: created.map(|created| magnitude(created, now)),
        uid: of.metadata.uid.clone().unwrap_or_default(),
    }
}

/// How many pods of related sets each node has.
pub fn by_node<'a>(related: impl IntoIterator<Item = &'a Pod>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for related in related.into_iter().filter(|one| pod::is_active(one)) {
        if let Some(node) = pod::node_name(related) {
            *counts.entry(node.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The whole part of the binary logarithm of a time that has passed, in nanoseconds; -1 where none has.
fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let passed = now.as_nanosecond() - since.as_nanosecond();
    u128::try_from(passed).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

/// A text that is no number counts as none.
fn cost(of: &Pod) -> i32 {
    let annotations = of.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(DELETION_COST)).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn restarts(of: &Pod) -> i32 {
    let statuses = of.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or_default()
}
