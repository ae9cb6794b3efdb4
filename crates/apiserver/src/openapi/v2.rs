//! The same content as Swagger 2.0, for clients that know nothing newer.
//!
//! A translation of the other documents; it must never say anything that they do not.

use model::schema::raw::REFERENCE_PREFIX;
use serde_json::{Map, Value, json};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Makes the document from the paths of all groups and all schemas, in the form of OpenAPI 3.0.
pub(super) fn document(mut paths: Map<String, Value>, schemas: &Map<String, Value>) -> Value {
    for item in paths.values_mut() {
        if let Some(parameters) = item.get_mut("parameters").and_then(Value::as_array_mut) {
            parameters.iter_mut().for_each(parameter);
        }
        for method in METHODS {
            if let Some(operation) = item.get_mut(method) {
                self::operation(operation);
            }
        }
    }
    let mut definitions = schemas.clone();
    for schema in definitions.values_mut() {
        self::schema(schema);
    }
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": super::VERSION },
        "paths": paths,
        "definitions": definitions,
    })
}

fn operation(operation: &mut Value) {
    let Some(operation) = operation.as_object_mut() else { return };
    let mut parameters = match operation.remove("parameters") {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    parameters.iter_mut().for_each(parameter);
    if let Some(mut body) = operation.remove("requestBody") {
        let (types, mut schema) = content(&mut body);
        self::schema(&mut schema);
        let required = body.get("required").is_some();
        parameters.push(json!({ "name": "body", "in": "body", "required": required, "schema": schema }));
        operation.insert("consumes".to_owned(), types.into());
    }
    let mut produced = Vec::new();
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(|responses| responses.values_mut()) {
        if response.get("content").is_some() {
            let (types, mut schema) = content(response);
            self::schema(&mut schema);
            response["schema"] = schema;
            produced = types;
        }
    }
    operation.insert("produces".to_owned(), produced.into());
    operation.insert("schemes".to_owned(), json!(["https"]));
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
}

/// Takes the media types and the schema (the same for all of them) out of a body or a response.
fn content(holder: &mut Value) -> (Vec<String>, Value) {
    let content = holder.as_object_mut().and_then(|holder| holder.remove("content"));
    let mut types = Vec::new();
    let mut schema = json!({});
    if let Some(Value::Object(content)) = content {
        for (media_type, entry) in content {
            schema = entry["schema"].clone();
            types.push(media_type);
        }
    }
    (types, schema)
}

fn parameter(parameter: &mut Value) {
    let Some(parameter) = parameter.as_object_mut() else { return };
    if let Some(Value::Object(schema)) = parameter.remove("schema") {
        parameter.extend(schema);
    }
}

/// References point elsewhere, need no wrapping, and alternatives do not exist.
fn schema(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(schema),
        Value::Object(map) => {
            if let Some(Value::Array(wrapped)) = map.remove("allOf") {
                let reference = wrapped.first().and_then(|schema| schema.get("$ref")).cloned();
                map.insert("$ref".to_owned(), reference.unwrap_or(Value::Null));
            }
            // On a schema itself; a property may have any name.
            if map.get("x-kubernetes-int-or-string").is_some_and(Value::is_boolean) {
                map.remove("oneOf");
                map.insert("type".to_owned(), "string".into());
                map.remove("x-kubernetes-int-or-string");
            }
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(REFERENCE_PREFIX)
            {
                *reference = format!("#/definitions/{name}");
            }
            map.values_mut().for_each(schema);
        }
        _ => {}
    }
}
