//! The pods of a set: which node each is for, and what they are made of. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::{meta, pod};

use super::{HASH_LABEL, set_kind};

/// The field by which affinity names a node.
const NODE_NAME_FIELD: &str = "metadata.name";
/// How many templates the set has had, and the label for it on pods.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";

/// The node that a pod is on, or is for.
pub fn node_of(one: &Pod) -> Option<&str> {
    pod::node_name(one).or_else(|| {
        let affinity = one.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        let mut named = fields.filter(|field| field.key == NODE_NAME_FIELD && field.operator == "In");
        named.find_map(|field| field.values.as_ref()?.first().map(String::as_str))
    })
}

/// True when the pod has the template of this revision.
pub fn is_updated(one: &Pod, hash: &str) -> bool {
    one.metadata.labels.as_ref().and_then(|labels| labels.get(HASH_LABEL)).is_some_and(|own| own == hash)
}

/// A pod for a node; `spec` is that of the template, with all it tolerates.
pub fn pod_for(set: &DaemonSet, spec: &PodSpec, node: &str, hash: &str) -> Pod {
    let like = set.spec.template.metadata.clone().unwrap_or_default();
    let mut labels = like.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let annotations = set.metadata.annotations.as_ref();
    if let Some(generation) = annotations.and_then(|all| all.get(TEMPLATE_GENERATION)) {
        labels.insert(TEMPLATE_GENERATION_LABEL.to_owned(), generation.clone());
    }
    let mut spec = spec.clone();
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    // What the template asks of nodes was looked at already.
    affinity.required_during_scheduling_ignored_during_execution = Some(only(node));
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: like.annotations,
            finalizers: like.finalizers,
            owner_references: Some(vec![meta::owner_reference(&set.metadata, &set_kind())]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

fn only(node: &str) -> NodeSelector {
    let field = NodeSelectorRequirement {
        key: NODE_NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![field]), match_expressions: None };
    NodeSelector { node_selector_terms: vec![term] }
}
