//! The schemas of the documents: the published ones, with the names of the kinds they belong to.
//!
//! Text to text; it must never change what a schema accepts.

use std::collections::BTreeMap;

use model::schema::{ExtraField, raw};
use serde_json::{Map, Value, json};

use crate::kind::Kind;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// Kinds that are served without a descriptor: as bodies, and in subresources.
const OTHER_KINDS: [(&str, &str, &str, &str); 4] = [
    ("io.k8s.api.core.v1.Binding", "", "v1", "Binding"),
    ("io.k8s.api.autoscaling.v1.Scale", "autoscaling", "v1", "Scale"),
    ("io.k8s.api.policy.v1.Eviction", "policy", "v1", "Eviction"),
    (STATUS, "", "v1", "Status"),
];

/// Every schema, with `x-kubernetes-group-version-kind` on those of kinds.
pub(super) fn published(kinds: &[&Kind], extra: &[ExtraField]) -> Map<String, Value> {
    let mut schemas = raw::schemas(extra);
    for (definition, group, version, kind) in OTHER_KINDS {
        mark(&mut schemas, definition, &[(group, version, kind)]);
    }
    for kind in kinds {
        let (group, version, name) = (&*kind.gvk.group, &*kind.gvk.version, &*kind.gvk.kind);
        mark(&mut schemas, kind.definition, &[(group, version, name)]);
        mark(&mut schemas, &format!("{}List", kind.definition), &[(group, version, &format!("{name}List"))]);
    }
    let groups: BTreeMap<_, _> =
        kinds.iter().map(|kind| ((&*kind.gvk.group, &*kind.gvk.version), ())).collect();
    let delete_options: Vec<_> =
        groups.into_keys().map(|(group, version)| (group, version, "DeleteOptions")).collect();
    mark(&mut schemas, DELETE_OPTIONS, &delete_options);
    schemas
}

fn mark(schemas: &mut Map<String, Value>, definition: &str, names: &[(&str, &str, &str)]) {
    let Some(schema) = schemas.get_mut(definition).and_then(Value::as_object_mut) else { return };
    let names: Vec<Value> = names
        .iter()
        .map(|(group, version, kind)| json!({ "group": group, "version": version, "kind": kind }))
        .collect();
    schema.insert("x-kubernetes-group-version-kind".to_owned(), names.into());
}

/// The schemas that paths refer to, and those that these refer to.
pub(super) fn reachable(paths: &Map<String, Value>, schemas: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open: Vec<&str> = Vec::new();
    paths.values().for_each(|path| references(path, &mut open));
    while let Some(name) = open.pop() {
        if found.contains_key(name) {
            continue;
        }
        let schema = schemas.get(name).expect("a reference names a schema that is published");
        references(schema, &mut open);
        found.insert(name.to_owned(), schema.clone());
    }
    found
}

fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| references(item, found)),
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            found.extend(name.and_then(|name| name.strip_prefix(raw::REFERENCE_PREFIX)));
            map.values().for_each(|value| references(value, found));
        }
        _ => {}
    }
}
