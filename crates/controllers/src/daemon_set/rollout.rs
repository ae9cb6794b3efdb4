//! Which pods an update replaces next. Pure.
//!
//! Either old pods go first and the node gets a new one (`maxUnavailable`), or new pods come first and the
//! old go when those are available (`maxSurge`). Where the old pod does not serve anyway nothing is lost, and
//! nothing is counted.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::{meta, pod};

use super::nodes::Verdict;
use super::pods::is_updated;
use super::staffing::ByNode;
use super::view::SetView;
use crate::deployment::arithmetic::amount;
use crate::writes::Named;

/// What an update may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many nodes may be without an available pod.
    pub unavailable: usize,
    /// So many may have two.
    pub surge: usize,
}

/// The limits of a set for so many nodes; `None` where nothing is updated by itself.
pub fn limits(set: &DaemonSet, desired: usize) -> Option<Limits> {
    let strategy = set.spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.clone()).unwrap_or_default();
    let of = i32::try_from(desired).unwrap_or(i32::MAX);
    let count = |value: Option<&IntOrString>, default: i32| {
        let value = value.cloned().unwrap_or(IntOrString::Int(default));
        usize::try_from(amount(Some(&value), of, true)).unwrap_or_default()
    };
    let surge = count(rolling.max_surge.as_ref(), 0);
    let mut unavailable = count(rolling.max_unavailable.as_ref(), 1);
    if desired > 0 && unavailable == 0 && surge == 0 {
        unavailable = 1;
    }
    Some(Limits { unavailable, surge })
}

/// What an update does now.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// Nodes that get a new pod beside the old one.
    pub create_on: Vec<String>,
    /// Old pods that go.
    pub delete: Vec<Named>,
}

/// The new and the old pod of a node; `None` when there are more of a kind, which is for others to mend.
fn pair<'a>(pods: &[&'a Arc<Pod>], hash: &str) -> Option<(Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>)> {
    let alive = pods.iter().copied().filter(|one| !meta::is_terminating(&one.metadata));
    let (new, old): (Vec<_>, Vec<_>) = alive.partition(|one| is_updated(one, hash));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

/// The next step of an update.
pub fn step(view: &SetView<'_>, by_node: &ByNode<'_>, hash: &str, limits: Limits, now: Timestamp) -> Step {
    let seconds = view.set.spec.min_ready_seconds.unwrap_or_default();
    let serves = |one: &Pod| pod::is_available(one, seconds, now);
    let wanted = view.verdicts.iter().filter(|(_, verdict)| **verdict == Verdict::Run);
    // Nodes without a pod count too, and so do pods on nodes that may only keep theirs.
    let others = by_node
        .keys()
        .copied()
        .filter(|node| view.verdicts.get(*node).is_some_and(|verdict| *verdict != Verdict::Run));
    let nodes: Vec<&str> = wanted.map(|(node, _)| node.as_str()).chain(others).collect();
    let empty = Vec::new();
    let (mut step, mut candidates, mut counted) = (Step::default(), Vec::new(), 0);
    for node in nodes {
        let pods = by_node.get(node).unwrap_or(&empty);
        let Some((new, old)) = pair(pods, hash) else {
            counted += 1;
            continue;
        };
        match (new, old, limits.surge > 0) {
            (Some(new), Some(old), true) if serves(new) => step.delete.push(Named::of(&old.metadata)),
            (Some(_), Some(_), _) => counted += 1,
            (_, None, true) => {}
            (None, Some(old), true) if !serves(old) => step.create_on.push(node.to_owned()),
            (None, Some(old), false) if !serves(old) => step.delete.push(Named::of(&old.metadata)),
            (None, Some(old), _) => candidates.push((node, old)),
            (new, None, false) => counted += usize::from(!new.is_some_and(|new| serves(new))),
        }
    }
    let most = if limits.surge > 0 { limits.surge } else { limits.unavailable };
    for (node, old) in candidates.into_iter().take(most.saturating_sub(counted)) {
        if limits.surge == 0 {
            step.delete.push(Named::of(&old.metadata));
        } else if view.verdicts.get(node) == Some(&Verdict::Run) {
            step.create_on.push(node.to_owned());
        }
    }
    step
}
