//! Node selectors: which nodes a pod or a volume means.
//!
//! Alternatives of requirements over a node's labels and its name, as `nodeAffinity` of pods and volumes has
//! them. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

type Labels = BTreeMap<String, String>;

/// True when any term matches; a selector without terms matches nothing.
pub fn matches(selector: &NodeSelector, labels: &Labels, node: &str) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, labels, node))
}

/// True when all of a term matches; an empty term matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, labels: &Labels, node: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |key: &str| (key == "metadata.name").then_some(node);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|one| holds(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(|one| holds(one, field(&one.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|candidate| candidate == value));
    let compared = |holds: fn(&i64, &i64) -> bool| match (value.map(str::parse), values) {
        (Some(Ok(value)), [bound]) => bound.parse().is_ok_and(|bound| holds(&value, &bound)),
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}
