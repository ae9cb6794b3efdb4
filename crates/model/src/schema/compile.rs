//! From published schemas to the compiled form.
//!
//! The input is our own dependency's output, so a form that is not understood is a programming error and
//! panics on first use, where every test meets it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::merge_rules;
use super::raw::REFERENCE_PREFIX;
use super::types::{Definition, DefinitionId, Definitions, Field, Type};

const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

/// Compiles schemas in the form that [`super::raw::schemas`] gives. What `merge_rules.rs` says about
/// their fields is added.
pub(super) fn compile(schemas: &Map<String, Value>) -> Definitions {
    // The map is ordered by name, so are the definitions.
    let mut by_name = HashMap::new();
    for (name, schema) in schemas {
        if schema.get("properties").is_some() {
            let id = DefinitionId(u32::try_from(by_name.len()).expect("there are some hundred definitions"));
            by_name.insert(name.clone().into_boxed_str(), id);
        }
    }
    let compiler = Compiler { schemas, by_name };
    let list = schemas
        .iter()
        .filter(|(name, _)| compiler.by_name.contains_key(name.as_str()))
        .map(|(name, schema)| compiler.definition(name, schema))
        .collect();
    Definitions { list, by_name: compiler.by_name }
}

struct Compiler<'a> {
    schemas: &'a Map<String, Value>,
    by_name: HashMap<Box<str>, DefinitionId>,
}

impl Compiler<'_> {
    fn definition(&self, name: &str, schema: &Value) -> Definition {
        let properties = schema["properties"].as_object().expect("properties are an object");
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let fields = properties
            .iter()
            .map(|(field, schema)| Field {
                name: field.clone().into_boxed_str(),
                of: self.type_of(schema),
                required: required.contains(&field.as_str()),
                merge: merge_rules::of(name, field),
            })
            .collect();
        Definition { name: name.into(), fields }
    }

    fn type_of(&self, schema: &Value) -> Type {
        if let Some(reference) = reference(schema) {
            return self.referred(reference);
        }
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return Type::IntOrString;
        }
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        match (text("type"), text("format")) {
            (None, _) => Type::Any,
            (Some("string"), Some("byte")) => Type::Bytes,
            (Some("string"), Some("date-time")) => Type::Time,
            (Some("string"), _) => Type::String,
            (Some("boolean"), _) => Type::Bool,
            (Some("integer"), Some("int32")) => Type::Int32,
            (Some("integer"), _) => Type::Int64,
            (Some("number"), _) => Type::Number,
            (Some("array"), _) => Type::List(Box::new(self.type_of(&schema["items"]))),
            (Some("object"), _) => match schema.get("additionalProperties") {
                Some(item) => Type::Map(Box::new(self.type_of(item))),
                None => Type::AnyObject,
            },
            (Some(other), _) => panic!("a published schema has the type {other:?}"),
        }
    }

    fn referred(&self, name: &str) -> Type {
        if let Some(id) = self.by_name.get(name) {
            return Type::Object(*id);
        }
        match name.rsplit('.').next() {
            Some("Quantity") => Type::Quantity,
            Some("MicroTime") => Type::MicroTime,
            _ if name == RAW_EXTENSION => Type::Any,
            _ => {
                let schema = self.schemas.get(name);
                self.type_of(schema.unwrap_or_else(|| panic!("no definition is named {name:?}")))
            }
        }
    }
}

fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref");
    let wrapped = || schema.get("allOf")?.get(0)?.get("$ref");
    direct.or_else(wrapped)?.as_str()?.strip_prefix(REFERENCE_PREFIX)
}
