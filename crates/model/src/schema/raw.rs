//! The published schemas of every served kind, with their texts for people, as JSON.
//!
//! They are large (about two megabytes as values), so nothing here is kept: whoever needs them generates
//! them, uses them and drops them.
//!
//! A kind is served when it is listed here; the definitions it refers to come along by themselves.

use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v1 as autoscaling, batch::v1 as batch, coordination::v1 as coordination,
    core::v1 as core, discovery::v1 as discovery, events::v1 as events, policy::v1 as policy,
    scheduling::v1 as scheduling, storage::v1 as storage,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{list_rules, merge_rules, short_name};

/// What a reference to another definition begins with.
pub const REFERENCE_PREFIX: &str = "#/components/schemas/";

/// A field that Ordinal adds to a definition of upstream's, or to one of its own.
#[derive(Debug, Clone)]
pub struct ExtraField {
    /// The definition it is added to: one that is served, or one that an earlier extra field refers to.
    pub definition: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its schema, in the form that [`schemas`] gives: with a description, and references that begin
    /// with [`REFERENCE_PREFIX`].
    pub schema: Value,
}

/// The schema of every definition by name, in the form of OpenAPI 3.0: references begin with
/// [`REFERENCE_PREFIX`] and have no siblings but through `allOf`. How lists merge stands in upstream's
/// extensions (`x-kubernetes-patch-merge-key`, `x-kubernetes-list-type` and the others).
pub fn schemas(extra: &[ExtraField]) -> Map<String, Value> {
    let mut generator = generator();
    listed_kinds(&mut generator);
    other_kinds(&mut generator);
    let mut schemas = generator.take_definitions(true);
    for (item, list) in LISTS {
        schemas.insert((*list).to_owned(), list_schema(item));
    }
    schemas.extend(crate::review::schemas());
    for field in extra {
        add(&mut schemas, field);
        if let Some(reference) = field.schema.get("$ref").and_then(Value::as_str) {
            let name = reference.strip_prefix(REFERENCE_PREFIX).unwrap_or(reference);
            let empty =
                || json!({ "description": field.schema["description"], "type": "object", "properties": {} });
            schemas.entry(name).or_insert_with(empty);
        }
    }
    for (name, schema) in schemas.iter_mut() {
        flatten(schema);
        annotate(name, schema);
    }
    schemas
}

fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::openapi3();
    // The transforms would only run over root schemas; ours are all definitions.
    settings.transforms.clear();
    settings.inline_subschemas = false;
    SchemaGenerator::new(settings)
}

/// Declares the kinds that come in lists: the calls that generate them, and the names of their lists.
macro_rules! listed {
    ($($module:ident :: $kind:ident = $name:literal),* $(,)?) => {
        fn listed_kinds(generator: &mut SchemaGenerator) {
            $(generator.subschema_for::<$module::$kind>();)*
        }

        const LISTS: &[(&str, &str)] = &[$(($name, concat!($name, "List"))),*];
    };
}

listed! {
    core::Namespace = "io.k8s.api.core.v1.Namespace",
    core::Node = "io.k8s.api.core.v1.Node",
    core::Pod = "io.k8s.api.core.v1.Pod",
    core::Service = "io.k8s.api.core.v1.Service",
    core::Endpoints = "io.k8s.api.core.v1.Endpoints",
    core::ConfigMap = "io.k8s.api.core.v1.ConfigMap",
    core::Secret = "io.k8s.api.core.v1.Secret",
    core::ServiceAccount = "io.k8s.api.core.v1.ServiceAccount",
    core::Event = "io.k8s.api.core.v1.Event",
    core::PersistentVolume = "io.k8s.api.core.v1.PersistentVolume",
    core::PersistentVolumeClaim = "io.k8s.api.core.v1.PersistentVolumeClaim",
    apps::StatefulSet = "io.k8s.api.apps.v1.StatefulSet",
    apps::Deployment = "io.k8s.api.apps.v1.Deployment",
    apps::DaemonSet = "io.k8s.api.apps.v1.DaemonSet",
    apps::ReplicaSet = "io.k8s.api.apps.v1.ReplicaSet",
    apps::ControllerRevision = "io.k8s.api.apps.v1.ControllerRevision",
    batch::Job = "io.k8s.api.batch.v1.Job",
    batch::CronJob = "io.k8s.api.batch.v1.CronJob",
    storage::StorageClass = "io.k8s.api.storage.v1.StorageClass",
    discovery::EndpointSlice = "io.k8s.api.discovery.v1.EndpointSlice",
    events::Event = "io.k8s.api.events.v1.Event",
    coordination::Lease = "io.k8s.api.coordination.v1.Lease",
    policy::PodDisruptionBudget = "io.k8s.api.policy.v1.PodDisruptionBudget",
    scheduling::PriorityClass = "io.k8s.api.scheduling.v1.PriorityClass",
}

fn other_kinds(generator: &mut SchemaGenerator) {
    generator.subschema_for::<core::Binding>();
    generator.subschema_for::<autoscaling::Scale>();
    generator.subschema_for::<policy::Eviction>();
    generator.subschema_for::<meta::Status>();
    generator.subschema_for::<meta::DeleteOptions>();
    generator.subschema_for::<meta::ListMeta>();
    generator.subschema_for::<meta::APIResourceList>();
    generator.subschema_for::<meta::Patch>();
}

/// Writes what the tables know beside what the types say.
fn annotate(name: &str, schema: &mut Value) {
    let short = short_name(name);
    if list_rules::is_atomic(short) {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        let other = if name.ends_with("Quantity") { "number" } else { "integer" };
        *schema = json!({
            "description": schema["description"],
            "x-kubernetes-int-or-string": true,
            "oneOf": [{ "type": "string" }, { "type": other }],
        });
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (field, schema) in properties.iter_mut() {
        let Some(schema) = schema.as_object_mut() else { continue };
        if let Some(rule) = list_rules::of(short, field) {
            list_rules::annotate(rule, schema);
        }
        let Some(strategy) = merge_rules::of(name, field) else { continue };
        let text = match (strategy.merge, strategy.retain_keys) {
            (true, true) => "merge,retainKeys",
            (true, false) => "merge",
            (false, true) => "retainKeys",
            (false, false) => "replace",
        };
        schema.insert("x-kubernetes-patch-strategy".to_owned(), text.into());
        if let Some(key) = strategy.key {
            schema.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
        }
    }
}

fn list_schema(item: &str) -> Value {
    let kind = item.rsplit('.').next().unwrap_or(item);
    json!({
        "description": format!("{kind}List is a list of {kind} objects."),
        "type": "object",
        "properties": {
            "apiVersion": {
                "description": "The version of the schema of this list.",
                "type": "string",
            },
            "items": {
                "description": format!("The {kind} objects."),
                "type": "array",
                "items": { "$ref": format!("{REFERENCE_PREFIX}{item}") },
            },
            "kind": {
                "description": format!("Always {kind}List."),
                "type": "string",
            },
            "metadata": {
                "description": "Metadata of the list: its resourceVersion, and where it goes on.",
                "$ref": format!("{REFERENCE_PREFIX}io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
            },
        },
        "required": ["items"],
    })
}

fn add(schemas: &mut Map<String, Value>, field: &ExtraField) {
    let properties = schemas
        .get_mut(field.definition)
        .and_then(|schema| schema.get_mut("properties"))
        .and_then(Value::as_object_mut)
        .expect("an extra field names a definition that is served and has fields");
    properties.insert(field.name.to_owned(), field.schema.clone());
}

/// Turns the dialect of the generator into plain OpenAPI 3.0: a list of types loses `null`, and a
/// reference with siblings is wrapped, because readers of 3.0 ignore what stands beside a `$ref`.
fn flatten(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(flatten),
        Value::Object(map) => {
            for (_, value) in map.iter_mut() {
                flatten(value);
            }
            if let Some(Value::Array(types)) = map.get("type") {
                let first = types.iter().find(|name| *name != "null").cloned();
                map.insert("type".to_owned(), first.unwrap_or_else(|| "object".into()));
            }
            if map.len() > 1
                && let Some(reference @ Value::String(_)) = map.remove("$ref")
            {
                map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
        }
        _ => {}
    }
}
