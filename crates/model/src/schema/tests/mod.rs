//! Tests of the schemas as a whole.
//!
//! `upstream.json` holds bodies with what upstream's decoder (`sigs.k8s.io/json` over the types of
//! `k8s.io/api` v0.37) made of them: the error, the strict errors, or the object it wrote again.

use k8s_openapi::api::apps::v1::StatefulSet;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{ExtraField, Type, definitions, raw};

mod served;

fn definition_of(kind: &str) -> &'static str {
    match kind {
        "StatefulSet" => "io.k8s.api.apps.v1.StatefulSet",
        "Pod" => "io.k8s.api.core.v1.Pod",
        "Service" => "io.k8s.api.core.v1.Service",
        "Secret" => "io.k8s.api.core.v1.Secret",
        "PersistentVolumeClaim" => "io.k8s.api.core.v1.PersistentVolumeClaim",
        other => panic!("no definition for {other}"),
    }
}

#[test]
fn upstream_and_we_find_the_same_wrong() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("upstream.json")).expect("JSON");
    assert!(cases.len() > 40);
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let mut body = case["body"].clone();
        let kind = case["kind"].as_str().expect("a kind");
        let checked = definitions().check(definition_of(kind), &mut body);
        assert_eq!(checked.type_errors.first().map(String::as_str), case["error"].as_str(), "{name}");
        let mut strict: Vec<&str> =
            case["strict"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        strict.sort_unstable();
        let mut ours = checked.unknown_fields.clone();
        ours.sort_unstable();
        assert_eq!(ours, strict, "{name}");
        if let Some(theirs) = case.get("result") {
            agree(&body, theirs, name);
        }
    }
}

/// Upstream writes zero values of fields that were absent; else both must be the same.
fn agree(ours: &Value, theirs: &Value, name: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, ours) in ours {
                agree(ours, theirs.get(key).unwrap_or(&Value::Null), name);
            }
            for (key, theirs) in theirs.iter().filter(|(key, _)| !ours.contains_key(*key)) {
                assert!(is_zero(theirs), "{name}: {key} is missing");
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{name}");
            ours.iter().zip(theirs).for_each(|(ours, theirs)| agree(ours, theirs, name));
        }
        _ => assert_eq!(ours, theirs, "{name}"),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_zero),
        other => [Value::Null, json!(""), json!(0)].contains(other),
    }
}

#[test]
fn an_unknown_definition_accepts_everything() {
    let mut value = json!({ "any": [null] });
    let before = value.clone();
    assert_eq!(definitions().check("io.example.Thing", &mut value), super::Checked::default());
    assert_eq!(value, before);
}

#[test]
fn a_value_too_deep_to_be_read_back_is_refused() {
    let mut data = json!(1);
    for _ in 0..124 {
        data = json!([data]);
    }
    let mut revision = json!({ "data": data, "revision": 1 });
    let checked = definitions().check("io.k8s.api.apps.v1.ControllerRevision", &mut revision);
    assert_eq!(checked.type_errors, ["json: data exceeds the maximum depth of 120"]);
}

#[test]
fn no_more_than_a_hundred_problems_of_a_sort_are_reported() {
    let unknown: Map<String, Value> = (0..500).map(|at| (format!("x{at}"), Value::Null)).collect();
    let finalizers: Vec<Value> = (0..500).map(Value::from).collect();
    let mut pod = json!({ "metadata": { "finalizers": finalizers }, "spec": unknown });
    let checked = definitions().check("io.k8s.api.core.v1.Pod", &mut pod);
    assert_eq!((checked.unknown_fields.len(), checked.type_errors.len()), (100, 100));
}

#[test]
fn fields_of_our_own_are_known_where_they_were_added() {
    let extra = [ExtraField {
        definition: "io.k8s.api.apps.v1.StatefulSetSpec",
        name: "healing",
        schema: json!({ "description": "What to do.", "type": "object",
            "additionalProperties": { "type": "string" } }),
    }];
    let with = super::Definitions::with_extra(&extra);
    let body = json!({ "spec": { "healing": { "broken": "replace" } } });
    let mut value = body.clone();
    assert_eq!(with.check("io.k8s.api.apps.v1.StatefulSet", &mut value), super::Checked::default());
    assert_eq!(value, body);
    let mut value = body.clone();
    let checked = definitions().check("io.k8s.api.apps.v1.StatefulSet", &mut value);
    assert_eq!(checked.unknown_fields, [r#"unknown field "spec.healing""#]);
    assert_eq!(
        raw::schemas(&extra)["io.k8s.api.apps.v1.StatefulSetSpec"]["properties"]["healing"]["type"],
        "object"
    );
}

#[test]
fn required_fields_are_those_upstream_always_writes() {
    let spec = definitions().get("io.k8s.api.apps.v1.StatefulSetSpec").expect("served");
    let required: Vec<&str> = spec.required().collect();
    assert_eq!(required, ["selector", "template"]);
}

/// Any JSON, with names that pods have, so that some of it fits.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
        Just(json!("1Gi")),
        Just(json!("2026-11-21T05:00:00+01:00")),
    ];
    let name = prop::sample::select(vec![
        "metadata",
        "spec",
        "replicas",
        "template",
        "containers",
        "name",
        "image",
        "labels",
        "ports",
        "containerPort",
        "resources",
        "limits",
        "creationTimestamp",
        "selector",
        "volumeClaimTemplates",
        "x",
    ]);
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_passes_the_check_decodes_and_passes_again(body in any_json()) {
        let definition = "io.k8s.api.apps.v1.StatefulSet";
        let mut once = body;
        let checked = definitions().check(definition, &mut once);
        let mut twice = once.clone();
        let again = definitions().check(definition, &mut twice);
        prop_assert!(again.unknown_fields.is_empty());
        prop_assert_eq!(&again.type_errors, &checked.type_errors);
        prop_assert_eq!(&once, &twice);
        if checked.type_errors.is_empty() {
            once["apiVersion"] = "apps/v1".into();
            once["kind"] = "StatefulSet".into();
            let decoded = StatefulSet::deserialize(&once);
            prop_assert!(decoded.is_ok(), "{:?}", decoded);
        }
    }
}

#[test]
fn every_field_has_a_type_that_is_checked() {
    let anything: Vec<String> = definitions()
        .iter()
        .flat_map(|definition| definition.fields.iter().map(move |field| (definition, field)))
        .filter(|(_, field)| matches!(field.of, Type::Any | Type::AnyObject))
        .map(|(definition, field)| format!("{}.{}", definition.go_name(), field.name))
        .collect();
    // Some are empty, for what is to come.
    let empty = [
        "WorkloadPodGroupDisruptionMode.all",
        "WorkloadPodGroupDisruptionMode.single",
        "WorkloadPodGroupSchedulingPolicy.basic",
    ];
    let mut expected =
        vec!["StatefulSetForecast.end", "StatefulSetReviewSpec.manifest", "ControllerRevision.data"];
    expected.extend(empty);
    expected.push("ManagedFieldsEntry.fieldsV1");
    assert_eq!(anything, expected);
}
