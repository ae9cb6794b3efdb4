//! `matchLabelKeys` and `mismatchLabelKeys` of pod affinity: the values of the pod's own labels become part
//! of the selector when the pod is made, so that everybody who reads it sees what it means (KEP-3633).

use serde_json::{Value, json};

use crate::kinds::read::{self, Read};

/// Completes the selectors of a new pod's affinity. What it is told twice it does once.
pub(crate) fn complete(pod: &mut Value) {
    let labels = pod.at("metadata.labels").clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = pod.pointer_mut(&format!("/spec/affinity/{kind}")) else { continue };
        for term in read::list_mut(terms, "requiredDuringSchedulingIgnoredDuringExecution") {
            complete_term(term, &labels);
        }
        for weighted in read::list_mut(terms, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = read::present_mut(weighted, "podAffinityTerm") {
                complete_term(term, &labels);
            }
        }
    }
}

fn complete_term(term: &mut Value, labels: &Value) {
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> = term.list(list).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let Some(selector) = read::present_mut(term, "labelSelector") else { return };
        for key in keys {
            let Some(value) = labels.get(&key) else { continue };
            let expression = json!({"key": key, "operator": operator, "values": [value]});
            let expressions = &mut selector["matchExpressions"];
            if !expressions.is_array() {
                *expressions = json!([]);
            }
            if let Some(expressions) = expressions.as_array_mut()
                && !expressions.contains(&expression)
            {
                expressions.push(expression);
            }
        }
    }
}
