//! PodDisruptionBudgets.

use serde_json::{Value, json};

use super::{MADE, created, errors, kind, row};

fn budget(spec: &Value) -> Value {
    let metadata = json!({"name": "x", "namespace": "default", "creationTimestamp": MADE});
    json!({"metadata": metadata, "spec": spec})
}

#[test]
fn a_budget_has_one_bound_that_is_a_count_or_a_percentage() {
    let budgets = kind("policy", "PodDisruptionBudget");
    let percent = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                   '93%', regex used for validation is '[0-9]+%')";
    let table: Vec<(Value, Vec<String>)> = vec![
        (json!({}), vec![]),
        (json!({"minAvailable": 2, "selector": {}}), vec![]),
        (json!({"maxUnavailable": "100%"}), vec![]),
        (json!({"minAvailable": -1}), vec![
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ]),
        (json!({"maxUnavailable": "101%"}), vec![
            "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%".to_owned(),
        ]),
        (json!({"maxUnavailable": "10"}), vec![format!(
            "spec.maxUnavailable: Invalid value: \"10\": {percent}"
        )]),
        (json!({"unhealthyPodEvictionPolicy": "Never"}), vec![
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \
             \"IfHealthyBudget\""
                .to_owned(),
        ]),
    ];
    for (spec, expected) in table {
        assert_eq!(errors(budgets, budget(&spec)), expected, "{spec}");
    }
    let both = errors(budgets, budget(&json!({"minAvailable": 1, "maxUnavailable": 1})));
    assert_eq!(both.len(), 1);
    assert!(both[0].starts_with("spec: Invalid value: "), "{both:?}");
    assert!(both[0].ends_with(": minAvailable and maxUnavailable cannot be both set"), "{both:?}");
}

#[test]
fn a_new_budget_allows_nothing_yet_and_says_which_bound_it_has() {
    let budgets = kind("policy", "PodDisruptionBudget");
    let mut object = budget(&json!({"maxUnavailable": "50%"}));
    object["status"] = json!({"disruptionsAllowed": 7});
    let object = created(budgets, object);
    let zeroes =
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    assert_eq!(object["status"], zeroes);
    assert_eq!(row(budgets, &object), ["x", "N/A", "50%", "0", "120m"]);
    let headings: Vec<&str> = budgets.columns.iter().map(|column| column.name).collect();
    assert_eq!(headings, ["Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"]);
}
