//! The status of a set: nodes counted by what their pods are. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use model::pod;

use super::nodes::Verdict;
use super::pods::is_updated;
use super::staffing::ByNode;
use super::view::SetView;

/// How many nodes are to have a pod.
pub fn desired(view: &SetView<'_>) -> usize {
    view.verdicts.values().filter(|verdict| **verdict == Verdict::Run).count()
}

/// Counts the nodes.
pub fn of(view: &SetView<'_>, by_node: &ByNode<'_>, hash: &str, now: Timestamp) -> DaemonSetStatus {
    let set = view.set;
    let seconds = set.spec.min_ready_seconds.unwrap_or_default();
    let (mut current, mut misplaced, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0);
    for (node, verdict) in view.verdicts {
        let Some(oldest) = by_node.get(node.as_str()).and_then(|pods| pods.first()) else { continue };
        if *verdict != Verdict::Run {
            misplaced += 1;
            continue;
        }
        current += 1;
        ready += i32::from(pod::is_ready(oldest));
        available += i32::from(pod::is_available(oldest, seconds, now));
        updated += i32::from(is_updated(oldest, hash));
    }
    let desired = i32::try_from(desired(view)).unwrap_or(i32::MAX);
    let counted = |count: i32| (count != 0).then_some(count);
    let known = set.status.as_ref();
    DaemonSetStatus {
        collision_count: known.and_then(|known| known.collision_count),
        conditions: known.and_then(|known| known.conditions.clone()),
        current_number_scheduled: current,
        desired_number_scheduled: desired,
        number_available: counted(available),
        number_misscheduled: misplaced,
        number_ready: ready,
        number_unavailable: counted(desired - available),
        observed_generation: set.metadata.generation,
        updated_number_scheduled: counted(updated),
    }
}

/// When the next pod that is ready becomes available.
pub fn next_available(view: &SetView<'_>, now: Timestamp) -> Option<Duration> {
    let seconds = view.set.spec.min_ready_seconds.unwrap_or_default();
    let from = view.pods.values().filter_map(|one| pod::available_from(one, seconds));
    from.filter_map(|from| Duration::try_from(from.duration_since(now)).ok())
        .filter(|left| !left.is_zero())
        .min()
}
