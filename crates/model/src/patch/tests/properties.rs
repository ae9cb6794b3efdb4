//! What holds for every strategic merge patch.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::patch::strategic;

const POD: &str = "io.k8s.api.core.v1.Pod";

fn names() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["a", "b", "c", "d", "e", "f"], 0..6).prop_shuffle()
}

/// A pod with keyed lists, sets, maps and plain lists.
fn pod() -> impl Strategy<Value = Value> {
    (names(), names(), names(), any::<u8>()).prop_map(|(containers, finalizers, labels, image)| {
        let containers: Vec<Value> = containers
            .iter()
            .map(|name| json!({ "name": name, "image": image.to_string(), "args": labels }))
            .collect();
        let labels: Map<String, Value> = labels.iter().map(|name| ((*name).to_owned(), json!("x"))).collect();
        json!({
            "metadata": { "finalizers": finalizers, "labels": labels },
            "spec": { "containers": containers, "nodeName": "n" },
        })
    })
}

/// A patch without order directives: changes and removals of what pods have.
fn patch() -> impl Strategy<Value = Value> {
    (pod(), names(), names(), any::<bool>()).prop_map(|(mut patch, removed, nulls, drop_node)| {
        let containers = patch["spec"]["containers"].as_array_mut().expect("a list");
        containers.retain(|item| !removed.contains(&item["name"].as_str().expect("a name")));
        containers.extend(removed.iter().map(|name| json!({ "name": name, "$patch": "delete" })));
        let finalizers = patch["metadata"]["finalizers"].as_array_mut().expect("a list");
        finalizers.retain(|item| !removed.contains(&item.as_str().expect("a text")));
        patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(removed);
        for name in nulls {
            patch["metadata"]["labels"][name] = Value::Null;
        }
        if drop_node {
            patch["spec"]["nodeName"] = Value::Null;
        }
        patch
    })
}

/// The names of the items, in an order that does not depend on theirs.
fn sorted(list: &Value) -> Vec<String> {
    let mut texts: Vec<String> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
    texts.sort_unstable();
    texts
}

proptest! {
    #[test]
    fn applying_a_patch_twice_is_applying_it_once(pod in pod(), patch in patch()) {
        let once = strategic(&pod, &patch, POD).expect("applies");
        let twice = strategic(&once, &patch, POD).expect("applies again");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn an_empty_patch_changes_nothing(pod in pod()) {
        prop_assert_eq!(strategic(&pod, &json!({}), POD).expect("applies"), pod);
    }

    #[test]
    fn what_a_patch_sets_is_there_and_what_it_removes_is_not(pod in pod(), patch in patch()) {
        let result = strategic(&pod, &patch, POD).expect("applies");
        let containers = result["spec"]["containers"].as_array().expect("a list");
        for item in patch["spec"]["containers"].as_array().expect("a list") {
            let found = containers.iter().find(|other| other["name"] == item["name"]);
            match item.get("$patch") {
                Some(_) => prop_assert!(found.is_none()),
                None => prop_assert_eq!(found, Some(item)),
            }
        }
        for (label, value) in patch["metadata"]["labels"].as_object().expect("labels") {
            let kept = result["metadata"]["labels"].get(label).unwrap_or(&Value::Null);
            prop_assert_eq!(kept, value);
        }
    }

    #[test]
    fn an_order_directive_changes_the_order_and_nothing_else(pod in pod(), patch in patch(), seed in names()) {
        let plain = strategic(&pod, &patch, POD).expect("applies");
        let mut ordered = patch.clone();
        let mut order: Vec<Value> = ordered["spec"]["containers"].as_array().expect("a list").iter()
            .filter(|item| item.get("$patch").is_none())
            .map(|item| json!({ "name": item["name"] }))
            .collect();
        for name in seed {
            if !order.iter().any(|item| item["name"] == name) {
                order.push(json!({ "name": name }));
            }
        }
        ordered["spec"]["$setElementOrder/containers"] = Value::Array(order.clone());
        let result = strategic(&pod, &ordered, POD).expect("applies");
        prop_assert_eq!(sorted(&result["spec"]["containers"]), sorted(&plain["spec"]["containers"]));
        let places: Vec<usize> = result["spec"]["containers"].as_array().expect("a list").iter()
            .filter_map(|item| order.iter().position(|other| other["name"] == item["name"]))
            .collect();
        prop_assert!(places.is_sorted(), "{:?}", places);
    }

    #[test]
    fn any_patch_is_applied_or_refused_but_never_panics(pod in pod(), other in pod(), text in "[$a-z/]{0,20}") {
        let mut patch = other;
        patch["spec"][text.as_str()] = json!([{ "name": "a" }]);
        patch["spec"][format!("$setElementOrder/{text}")] = json!([text]);
        patch["metadata"]["labels"] = json!({ "$patch": text });
        let _either = strategic(&pod, &patch, POD);
    }
}
