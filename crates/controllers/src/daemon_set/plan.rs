//! What is to be done about a set. Pure: the same view gives the same plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::selector::Selector;
use model::{meta, pod};
use reconcile::recorder::EventKind;

use super::revisions::{self, Write};
use super::view::SetView;
use super::{HASH_LABEL, pods, rollout, staffing, status};
use crate::writes::Named;

/// Pods made or deleted by one plan, as upstream has it.
pub const BURST_MAX: usize = 250;

/// What to do, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Pods to take in. Before that the set itself must be asked for again: it may be gone.
    pub adopt: Vec<Named>,
    /// Revisions to take in, in the same way.
    pub adopt_revisions: Vec<Named>,
    /// Pods to let go.
    pub release: Vec<Named>,
    /// The revision of the present template.
    pub revision: Option<Write>,
    /// What to tell.
    pub events: Vec<(EventKind, &'static str, String)>,
    /// Pods to delete.
    pub delete: Vec<Named>,
    /// Pods to make.
    pub create: Vec<Arc<Pod>>,
    /// The status as it is; `None` while pods change hands.
    pub status: Option<DaemonSetStatus>,
    /// Revisions that nobody needs any more.
    pub forget: Vec<Named>,
    /// Nodes where a pod failed.
    pub failed_on: Vec<String>,
    /// When to decide again though nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self, set: &DaemonSet) -> bool {
        self.adopt.is_empty()
            && self.adopt_revisions.is_empty()
            && self.release.is_empty()
            && self.revision.is_none()
            && self.delete.is_empty()
            && self.create.is_empty()
            && self.forget.is_empty()
            && (self.status.is_none() || self.status == set.status)
    }
}

/// Decides about a set.
pub fn plan(view: &SetView<'_>, now: Timestamp) -> Plan {
    let Ok(selector) = view.selector else { return Plan::default() };
    if meta::is_terminating(&view.set.metadata) {
        return Plan::default();
    }
    let handed_over = hand_over(view, selector);
    if !handed_over.is_quiet(view.set) {
        return handed_over;
    }
    let ours = view.pods.values().filter(|one| selects(selector, &one.metadata));
    let by_node = staffing::by_node(ours);
    let revisions = revisions::choose(view);
    let hash = revisions.hash.as_str();
    let limits = rollout::limits(view.set, status::desired(view));
    let allows_surge = limits.is_some_and(|limits| limits.surge > 0);
    let staffing = staffing::of(view, &by_node, hash, allows_surge, now);
    let (mut create_on, mut delete) = (staffing.create_on, staffing.delete);
    if let Some(limits) = limits.filter(|_| create_on.is_empty() && delete.is_empty()) {
        let step = rollout::step(view, &by_node, hash, limits, now);
        (create_on, delete) = (step.create_on, step.delete);
    }
    create_on.truncate(BURST_MAX);
    delete.truncate(BURST_MAX);
    let in_use: BTreeSet<&str> = view
        .pods
        .values()
        .filter_map(|one| one.metadata.labels.as_ref()?.get(HASH_LABEL).map(String::as_str))
        .collect();
    let waits = [staffing.wait, status::next_available(view, now)];
    let make = |node: &String| Arc::new(pods::pod_for(view.set, view.spec, node, hash));
    Plan {
        events: staffing.events,
        create: create_on.iter().map(make).collect(),
        delete,
        status: Some(status::of(view, &by_node, hash, now)),
        forget: revisions.expired(view.set.spec.revision_history_limit, &in_use),
        revision: revisions.write,
        failed_on: staffing.failed_on,
        requeue_after: waits.into_iter().flatten().min(),
        ..Plan::default()
    }
}

fn selects(selector: &Selector, metadata: &ObjectMeta) -> bool {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(metadata.labels.as_ref().unwrap_or(&NONE))
}

/// Takes in what nobody manages, and lets go the pods that the set selects no more.
fn hand_over(view: &SetView<'_>, selector: &Selector) -> Plan {
    let adopted = view.orphans.values().map(|one| (&one.metadata, pod::is_active(one)));
    let revisions = view.orphan_revisions.values().map(|one| (&one.metadata, true));
    let taken = |(metadata, is_alive): &(&ObjectMeta, bool)| {
        *is_alive && !meta::is_terminating(metadata) && selects(selector, metadata)
    };
    let released = view.pods.values().filter(|one| pod::is_active(one) && !selects(selector, &one.metadata));
    Plan {
        adopt: adopted.filter(taken).map(|(metadata, _)| Named::of(metadata)).collect(),
        adopt_revisions: revisions.filter(taken).map(|(metadata, _)| Named::of(metadata)).collect(),
        release: released.map(|one| Named::of(&one.metadata)).collect(),
        ..Plan::default()
    }
}
