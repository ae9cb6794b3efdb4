//! What is to be done about a set. Pure: the same view gives the same plan.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{meta, pod};

use super::view::SetView;
use super::{ranks, set_kind, status};
use crate::writes::Named;

/// Pods made or deleted by one plan, as upstream has it: a set of thousands leaves room for others.
pub const BURST_MAX: usize = 500;

/// What to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Pods to take in. Before that the set itself must be asked for again: it may be gone.
    pub adopt: Vec<Named>,
    /// Pods to let go.
    pub release: Vec<Named>,
    /// How many pods to make.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Named>,
    /// The status that follows, if all goes well; `None` while pods change hands.
    pub status: Option<ReplicaSetStatus>,
    /// When to decide again though nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self, set: &ReplicaSet) -> bool {
        self.adopt.is_empty()
            && self.release.is_empty()
            && self.create == 0
            && self.delete.is_empty()
            && self.status.as_ref().is_none_or(|status| !status::is_news(set, status))
    }
}

/// Decides about a set.
pub fn plan(view: &SetView<'_>, now: Timestamp) -> Plan {
    let set = view.set;
    let Ok(selector) = view.selector else { return Plan::default() };
    let is_going = meta::is_terminating(&set.metadata);
    let empty = std::collections::BTreeMap::new();
    let selects = |one: &Pod| selector.matches(one.metadata.labels.as_ref().unwrap_or(&empty));
    let (ours, strangers): (Vec<_>, Vec<_>) = view.pods.values().partition(|one| selects(one));
    if !is_going {
        let adopted = view.orphans.values().filter(|one| pod::is_active(one) && selects(one));
        let released = strangers.into_iter().filter(|one| pod::is_active(one));
        let plan = Plan {
            adopt: adopted.map(|one| Named::of(&one.metadata)).collect(),
            release: released.map(|one| Named::of(&one.metadata)).collect(),
            ..Plan::default()
        };
        if !plan.adopt.is_empty() || !plan.release.is_empty() {
            return plan;
        }
    }
    let terminating = ours.iter().filter(|one| status::is_terminating(one)).count();
    let active: Vec<&Arc<Pod>> = ours.into_iter().filter(|one| pod::is_active(one)).collect();
    let terminating = i32::try_from(terminating).unwrap_or(i32::MAX);
    let mut plan = Plan {
        status: Some(status::of(set, &active, terminating, now)),
        requeue_after: status::next_available(set, &active, now),
        ..Plan::default()
    };
    if is_going {
        return plan;
    }
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or_default();
    if active.len() < wanted {
        plan.create = (wanted - active.len()).min(BURST_MAX);
    } else if active.len() > wanted {
        plan.delete = surplus(view, active, wanted, now);
    }
    plan
}

/// Those of the pods that are too many, the cheapest to lose first.
fn surplus(view: &SetView<'_>, active: Vec<&Arc<Pod>>, wanted: usize, now: Timestamp) -> Vec<Named> {
    let count = (active.len() - wanted).min(BURST_MAX);
    let mut candidates = active;
    if wanted > 0 {
        let by_node = ranks::by_node(view.related().into_iter().map(|one| &**one));
        candidates.sort_by_cached_key(|one| {
            let related = pod::node_name(one).and_then(|node| by_node.get(node));
            ranks::rank(one, related.copied().unwrap_or_default(), now)
        });
    }
    candidates.into_iter().take(count).map(|one| Named::of(&one.metadata)).collect()
}

/// A pod of a set, as its template says.
pub fn pod_of(set: &ReplicaSet) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    let like = template.metadata.unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: like.labels,
            annotations: like.annotations,
            finalizers: like.finalizers,
            owner_references: Some(vec![meta::owner_reference(&set.metadata, &set_kind())]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
