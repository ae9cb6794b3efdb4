//! What a pod's own words say about a node: node selectors, node affinity, taints.
//!
//! The scheduler asks where a pod may go, the DaemonSet controller where its pods are to be: they have one
//! answer, here. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorTerm, PodSpec, Taint};

use crate::{node_selector, taint};

/// True when the node is what `spec.nodeSelector` and required node affinity ask for.
pub fn is_selected(spec: &PodSpec, node: &Node) -> bool {
    let labels = labels(node);
    let by_labels = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    by_labels && required.is_none_or(|selector| matches(selector, node))
}

/// True when any term of a node selector matches.
fn matches(selector: &NodeSelector, node: &Node) -> bool {
    node_selector::matches(selector, labels(node), name(node))
}

/// True when all of a term matches.
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    node_selector::term_matches(term, labels(node), name(node))
}

/// A node's labels.
pub fn labels(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.labels.as_ref().unwrap_or(&NONE)
}

/// A node's name.
pub fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// The first taint of one of these effects that the pod does not tolerate.
pub fn untolerated<'a>(spec: &PodSpec, node: &'a Node, effects: &[&str]) -> Option<&'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .find(|taint| !is_tolerated(spec, taint))
}

/// True when the pod has a toleration for this taint.
pub fn is_tolerated(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| taint::tolerates(toleration, taint))
}
