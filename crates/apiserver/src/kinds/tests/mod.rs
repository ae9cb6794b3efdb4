//! Tables of objects and what must come of them: defaults, errors, rows.
//!
//! The texts are what clients see; a change here is a change of the API.

mod cron_jobs;
mod daemon_sets;
mod jobs;
mod pod_disruption_budgets;
mod pod_specs;
mod pods;
mod rest;
mod services;
mod stateful_sets;
mod volumes;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::all;
use crate::kind::Kind;

/// The moment at which rows are made.
const NOW: &str = "2026-01-02T00:00:00Z";
/// Two hours before [`NOW`].
const MADE: &str = "2026-01-01T22:00:00Z";

fn kind(group: &str, name: &str) -> &'static Kind {
    let found = all().into_iter().find(|kind| kind.gvk.group == group && kind.gvk.kind == name);
    found.expect("the kind is registered")
}

/// The object with its defaults.
fn defaulted(kind: &Kind, mut object: Value) -> Value {
    kind.strategy.default(&mut object);
    let once = object.clone();
    kind.strategy.default(&mut object);
    assert_eq!(object, once, "defaulting twice changes nothing");
    object
}

/// The object as a create stores it.
fn created(kind: &Kind, object: Value) -> Value {
    let mut object = defaulted(kind, object);
    kind.strategy.prepare_create(&mut object);
    object
}

/// What is wrong with it.
fn errors(kind: &Kind, object: Value) -> Vec<String> {
    let object = created(kind, object);
    kind.strategy.validate_create(&object).iter().map(ToString::to_string).collect()
}

/// What is wrong with the change from one to the other.
fn update_errors(kind: &Kind, old: Value, new: Value) -> Vec<String> {
    let old = created(kind, old);
    let mut new = defaulted(kind, new);
    kind.strategy.prepare_update(&mut new, &old);
    kind.strategy.validate_update(&new, &old).iter().map(ToString::to_string).collect()
}

fn now() -> Timestamp {
    NOW.parse().expect("a timestamp")
}

/// Its row, as texts.
fn row(kind: &Kind, object: &Value) -> Vec<String> {
    let cells = kind.strategy.row(object, now());
    assert_eq!(cells.len(), kind.columns.len(), "a cell for each column");
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    cells.iter().map(text).collect()
}

/// `base` with the JSON merge patch `patch` applied.
fn with(base: &Value, patch: &Value) -> Value {
    let mut object = base.clone();
    merge(&mut object, patch);
    object
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().expect("made an object above");
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

#[test]
fn every_kind_has_a_row_for_an_object_without_anything() {
    for kind in all() {
        let object = defaulted(kind, json!({"metadata": {"name": "x", "creationTimestamp": MADE}}));
        assert_eq!(kind.strategy.row(&object, now()).len(), kind.columns.len(), "{}", kind.gvk.kind);
    }
}

#[test]
fn every_kind_gives_the_selectable_fields_that_it_names() {
    for kind in all() {
        let fields = kind.strategy.selectable_fields(&json!({"metadata": {"name": "x"}}));
        let mut given: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let mut named = kind.strategy.selectable_field_names().to_vec();
        given.sort_unstable();
        named.sort_unstable();
        assert_eq!(given, named, "{}", kind.gvk.kind);
    }
}

#[test]
fn validating_an_empty_object_gives_errors_and_no_panic() {
    for kind in all() {
        let object = json!({"metadata": {"name": "x"}});
        let _ = errors(kind, object.clone());
        let _ = update_errors(kind, object.clone(), object);
    }
}

#[test]
fn keys_are_those_that_upstream_uses_in_etcd() {
    let prefixes: Vec<(&str, &str)> =
        all().iter().map(|kind| (kind.gvr.resource.as_ref(), kind.key_prefix)).collect();
    for expected in [
        ("pods", "/registry/pods"),
        ("nodes", "/registry/minions"),
        ("services", "/registry/services/specs"),
        ("endpoints", "/registry/services/endpoints"),
        ("statefulsets", "/registry/statefulsets"),
        ("leases", "/registry/leases"),
        ("endpointslices", "/registry/endpointslices"),
    ] {
        assert!(prefixes.contains(&expected), "{expected:?}");
    }
    assert_eq!(prefixes.iter().filter(|(_, prefix)| *prefix == "/registry/events").count(), 2);
}
