//! Checks a value against a definition, and makes of it what upstream's decoder would make.
//!
//! The messages are those of upstream's JSON decoder, which clients print and tests match. It never
//! allocates for a path unless there is something to say about it. Field names match exactly: upstream's
//! decoder, unlike plain Go's, minds their case.

use serde_json::{Map, Number, Value};

use super::types::{Definition, Definitions, Type};
use super::{base64_text, go_types, time_text};
use crate::quantity::Quantity;

/// Problems of one sort that are reported of one value; upstream's own bound for unknown fields.
const PROBLEMS_MAX: usize = 100;

/// How deep values may nest. serde_json reads back at most 127 levels (its recursion limit of 128 counts
/// the innermost value), and what is accepted must be readable from the store; the rest is headroom for
/// the lists that objects are wrapped in.
pub(crate) const DEPTH_MAX: usize = 120;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Values of the wrong type, as upstream's decoder words it: `json: cannot unmarshal string into Go
    /// struct field StatefulSetSpec.spec.replicas of type int32`. Upstream reports only the first.
    pub type_errors: Vec<String>,
    /// Fields that are not there, with their whole path: `unknown field "spec.foo"`. They are removed.
    pub unknown_fields: Vec<String>,
}

pub(super) fn check(definitions: &Definitions, definition: &str, value: &mut Value) -> Checked {
    let mut checker = Checker { definitions, checked: Checked::default() };
    let Some(id) = definitions.id(definition) else { return checker.checked };
    checker.value(&Type::Object(id), value, &Path::ROOT);
    checker.checked
}

/// Where a value is, as a list that lives on the stack.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
    depth: usize,
}

enum Step<'a> {
    Root,
    Field(&'a Definition, &'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    const ROOT: Path<'static> = Path { parent: None, step: Step::Root, depth: 0 };

    fn then(&'a self, step: Step<'a>) -> Path<'a> {
        Path { parent: Some(self), step, depth: self.depth + 1 }
    }

    /// As strict decoding prints it: `spec.containers[0].image`.
    fn strict(&self) -> String {
        let mut text = self.parent.map(Path::strict).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Index(index) => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
            Step::Field(_, name) | Step::Key(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
        }
        text
    }

    /// As type errors print it, without indexes and keys: `PodSpec.spec.containers`, which begins with the
    /// type of the innermost field's owner. `None` at the root.
    fn go(&self) -> Option<String> {
        let mut names = Vec::new();
        let mut owner = None;
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field(definition, name) = path.step {
                owner = owner.or(Some(definition));
                names.push(name);
            }
            at = path.parent;
        }
        names.reverse();
        owner.map(|owner| format!("{}.{}", owner.go_name(), names.join(".")))
    }

    /// The innermost field, with its owner and the number of steps from it to here.
    fn field(&self) -> Option<(&'a Definition, &'a str, usize)> {
        let mut steps = 0;
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field(definition, name) = path.step {
                return Some((definition, name, steps));
            }
            steps += 1;
            at = path.parent;
        }
        None
    }
}

struct Checker<'a> {
    definitions: &'a Definitions,
    checked: Checked,
}

impl Checker<'_> {
    /// Checks one value that is not null.
    fn value(&mut self, of: &Type, value: &mut Value, path: &Path<'_>) {
        match (of, &mut *value) {
            (Type::Object(id), Value::Object(map)) => self.object(self.definitions.at(*id), map, path),
            (Type::Map(item), Value::Object(map)) => self.map(item, map, path),
            (Type::List(item), Value::Array(list)) => self.list(item, list, path),
            (Type::String, Value::String(_)) | (Type::Bool, Value::Bool(_)) => {}
            (Type::Number, Value::Number(_)) | (Type::IntOrString, Value::String(_)) => {}
            (Type::Int32 | Type::IntOrString, Value::Number(number)) if is_int32(number) => {}
            (Type::Int64, Value::Number(number)) if number.is_i64() => {}
            (Type::Any, any) | (Type::AnyObject, any @ Value::Object(_)) => self.depth(any, path),
            (Type::Quantity, Value::String(_) | Value::Number(_)) => self.quantity(value),
            (Type::Time | Type::MicroTime, Value::String(text)) => self.time(of, text),
            (Type::Bytes, Value::String(text)) => self.bytes(text),
            _ => self.mismatch(of, value, path),
        }
    }

    fn object(&mut self, definition: &Definition, map: &mut Map<String, Value>, path: &Path<'_>) {
        map.retain(|name, value| {
            let Some(field) = definition.field(name) else {
                self.unknown(name, path);
                return false;
            };
            if value.is_null() && !matches!(field.of, Type::Any) {
                return false;
            }
            self.value(&field.of, value, &path.then(Step::Field(definition, name)));
            true
        });
    }

    fn map(&mut self, item: &Type, map: &mut Map<String, Value>, path: &Path<'_>) {
        for (key, value) in map.iter_mut() {
            if value.is_null() {
                *value = zero(item);
            }
            self.value(item, value, &path.then(Step::Key(key)));
        }
    }

    fn list(&mut self, item: &Type, list: &mut [Value], path: &Path<'_>) {
        for (index, value) in list.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero(item);
            }
            self.value(item, value, &path.then(Step::Index(index)));
        }
    }

    fn depth(&mut self, value: &Value, path: &Path<'_>) {
        if !fits(value, DEPTH_MAX.saturating_sub(path.depth)) {
            self.error(format!("json: {} exceeds the maximum depth of {DEPTH_MAX}", path.strict()));
        }
    }

    fn quantity(&mut self, value: &mut Value) {
        let parsed = match &*value {
            Value::String(text) => Quantity::parse(text.trim()),
            other => Quantity::parse(&other.to_string()),
        };
        match parsed {
            Err(error) => self.error(error.to_string()),
            Ok(quantity) => {
                let canonical = quantity.to_string();
                if value.as_str() != Some(&canonical) {
                    *value = Value::String(canonical);
                }
            }
        }
    }

    fn time(&mut self, of: &Type, text: &mut String) {
        match time_text::canonical(text, matches!(of, Type::MicroTime)) {
            Ok(None) => {}
            Ok(Some(canonical)) => *text = canonical,
            Err(error) => self.error(error),
        }
    }

    fn bytes(&mut self, text: &mut String) {
        match base64_text::canonical(text) {
            Ok(None) => {}
            Ok(Some(canonical)) => *text = canonical,
            Err(at) => self.error(format!("illegal base64 data at input byte {at}")),
        }
    }

    fn unknown(&mut self, name: &str, path: &Path<'_>) {
        if self.checked.unknown_fields.len() < PROBLEMS_MAX {
            let path = path.strict();
            let dot = if path.is_empty() { "" } else { "." };
            self.checked.unknown_fields.push(format!("unknown field \"{path}{dot}{name}\""));
        }
    }

    fn mismatch(&mut self, of: &Type, value: &Value, path: &Path<'_>) {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
            Value::Number(number) if matches!(of, Type::Int32 | Type::Int64 | Type::IntOrString) => {
                format!("number {number}")
            }
            Value::Number(_) => "number".to_owned(),
        };
        let name = match of {
            Type::Quantity => {
                // It reads the text of whatever stands there.
                let refusal = Quantity::parse("{}").expect_err("an object is no quantity");
                self.error(refusal.to_string());
                return;
            }
            // These are read by way of plainer types.
            Type::Time | Type::MicroTime => "string".to_owned(),
            Type::IntOrString => "int32".to_owned(),
            _ => go_types::at(self.definitions, of, path.field()),
        };
        self.error(match path.go() {
            None => format!("json: cannot unmarshal {found} into Go value of type {name}"),
            Some(at) => format!("json: cannot unmarshal {found} into Go struct field {at} of type {name}"),
        });
    }

    fn error(&mut self, message: String) {
        if self.checked.type_errors.len() < PROBLEMS_MAX {
            self.checked.type_errors.push(message);
        }
    }
}

fn is_int32(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// True when a value nests at most so many levels deep.
pub(crate) fn fits(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => false,
        (Value::Array(list), Some(levels)) => list.iter().all(|value| fits(value, levels)),
        (Value::Object(map), Some(levels)) => map.values().all(|value| fits(value, levels)),
        _ => true,
    }
}

/// What a null inside a list or map decodes into.
fn zero(of: &Type) -> Value {
    match of {
        Type::String | Type::Bytes => "".into(),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Number | Type::IntOrString => 0.into(),
        Type::Quantity => "0".into(),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Map(_) | Type::Object(_) | Type::AnyObject => Value::Object(Map::new()),
        Type::Any | Type::Time | Type::MicroTime => Value::Null,
    }
}
