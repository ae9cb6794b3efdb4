//! Which nodes miss their pod, and which pods are too many. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::{meta, pod};
use reconcile::recorder::EventKind;

use super::nodes::Verdict;
use super::pods::{is_updated, node_of};
use super::view::SetView;
use crate::writes::Named;

/// Pods by the node that they are on, or for.
pub type ByNode<'a> = BTreeMap<&'a str, Vec<&'a Arc<Pod>>>;

/// The pods of a set by their nodes, the oldest first.
pub fn by_node<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> ByNode<'a> {
    let mut all = ByNode::new();
    for one in pods {
        if let Some(node) = node_of(one) {
            all.entry(node).or_default().push(one);
        }
    }
    for pods in all.values_mut() {
        pods.sort_by_key(|one| {
            // One that runs comes before one of the same age that does not.
            let created = one.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (created, pod::node_name(one).is_none(), pod::phase(one) != "Running", one.metadata.name.clone())
        });
    }
    all
}

/// What to do about the number of pods.
#[derive(Debug, Default, PartialEq)]
pub struct Staffing {
    /// Nodes to make a pod for.
    pub create_on: Vec<String>,
    /// Pods to delete.
    pub delete: Vec<Named>,
    /// What to tell.
    pub events: Vec<(EventKind, &'static str, String)>,
    /// Nodes where a pod failed.
    pub failed_on: Vec<String>,
    /// When a pod that failed may go.
    pub wait: Option<Duration>,
}

/// Looks at every node.
pub fn of(
    view: &SetView<'_>,
    by_node: &ByNode<'_>,
    hash: &str,
    allows_surge: bool,
    now: Timestamp,
) -> Staffing {
    let mut staffing = Staffing::default();
    for (node, verdict) in view.verdicts {
        match (verdict, by_node.get(node.as_str())) {
            (Verdict::Run, None) => staffing.create_on.push(node.clone()),
            (_, None) => {}
            (Verdict::Leave, Some(pods)) => staffing.delete.extend(alive(pods)),
            (Verdict::Run | Verdict::Stay, Some(pods)) => {
                let running = staffing.clear(view, node, pods, now);
                staffing.thin_out(view, running, hash, allows_surge, now);
            }
        }
    }
    // Those that wait for a node that is gone; one that was on it is not ours to clear away.
    for (node, pods) in by_node.iter().filter(|(node, _)| !view.verdicts.contains_key(**node)) {
        debug_assert!(!node.is_empty(), "a pod without a node is for none");
        let waiting = pods.iter().filter(|one| pod::node_name(one).is_none());
        let waiting = waiting.filter(|one| !meta::is_terminating(&one.metadata));
        staffing.delete.extend(waiting.map(|one| Named::of(&one.metadata)));
    }
    staffing
}

fn alive<'a>(pods: &'a [&'a Arc<Pod>]) -> impl Iterator<Item = Named> + 'a {
    let alive = pods.iter().filter(|one| !meta::is_terminating(&one.metadata));
    alive.map(|one| Named::of(&one.metadata))
}

impl Staffing {
    /// Clears away pods that are over; those that are not.
    fn clear<'a>(
        &mut self,
        view: &SetView<'_>,
        node: &str,
        pods: &[&'a Arc<Pod>],
        now: Timestamp,
    ) -> Vec<&'a Arc<Pod>> {
        let mut running = Vec::new();
        for one in pods.iter().copied().filter(|one| !meta::is_terminating(&one.metadata)) {
            let name = meta::display_name(&one.metadata);
            if pod::is_failed(one) {
                // A node that refuses its pods is not asked again and again.
                let left = view.failures.get(node).map(|failure| failure.remaining(now)).unwrap_or_default();
                if !left.is_zero() {
                    self.wait = Some(self.wait.map_or(left, |wait| wait.min(left)));
                    continue;
                }
                let text = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
                self.events.push((EventKind::Warning, "FailedDaemonPod", text));
                self.failed_on.push(node.to_owned());
                self.delete.push(Named::of(&one.metadata));
            } else if pod::is_succeeded(one) {
                let text = format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
                self.events.push((EventKind::Normal, "SucceededDaemonPod", text));
                self.delete.push(Named::of(&one.metadata));
            } else {
                running.push(one);
            }
        }
        running
    }

    /// Leaves one pod on a node; of an update that adds before it takes away, an old and a new one.
    fn thin_out(
        &mut self,
        view: &SetView<'_>,
        running: Vec<&Arc<Pod>>,
        hash: &str,
        allows_surge: bool,
        now: Timestamp,
    ) {
        let mut too_many = Vec::new();
        if allows_surge {
            let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|one| is_updated(one, hash));
            let (mut new, mut old) = (new.into_iter(), old.into_iter());
            if let (Some(new), Some(old)) = (new.next(), old.next()) {
                let seconds = view.set.spec.min_ready_seconds.unwrap_or_default();
                if !pod::is_ready(old) || pod::is_available(new, seconds, now) {
                    too_many.push(old);
                }
            }
            too_many.extend(new.chain(old));
        } else {
            too_many.extend(running.into_iter().skip(1));
        }
        self.delete.extend(too_many.into_iter().map(|one| Named::of(&one.metadata)));
    }
}
