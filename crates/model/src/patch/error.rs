//! Why a patch was refused, in upstream's words.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::status::{Reason, Status};

/// Why a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatchError {
    /// More operations than a JSON patch may have.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {count}")]
    TooManyOperations {
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// The body is not a JSON patch.
    #[error("error decoding patch: {0}")]
    MalformedJsonPatch(String),
    /// An operation of a JSON patch cannot be carried out.
    #[error("{0}")]
    Operation(String),
    /// The patch, or what it patches, is not an object.
    #[error("invalid JSON document")]
    NotAnObject,
    /// There is no definition that says how lists merge.
    #[error("strategic merge patch format is not supported")]
    Unsupported,
    /// `$deleteFromPrimitiveList` without a field.
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    /// `$retainKeys` is not a list, or leaves out a field that the patch sets.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` without a field.
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    /// A list to be merged holds lists.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// A list to be merged holds values of several types.
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    /// An item of a list lacks the field that identifies it.
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The item.
        item: String,
        /// The field.
        key: &'static str,
    },
    /// A `$patch` that is neither `replace` nor `delete`.
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective {
        /// What it says.
        directive: String,
        /// The object it stands in.
        map: String,
    },
    /// `$patch: merge` in a list.
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirectiveInList,
    /// Objects in a list that is merged as a set of plain values.
    #[error("cannot merge lists without merge key for {0}")]
    NoDeclaredKey(String),
    /// A value of the wrong type.
    #[error("expected a {expected}, but received a {received}")]
    WrongType {
        /// What should stand there.
        expected: &'static str,
        /// What does.
        received: &'static str,
    },
    /// The patch's items do not stand in the order that its `$setElementOrder` gives.
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch {
        /// The patch's items.
        patch: String,
        /// The order.
        order: String,
    },
}

impl PatchError {
    /// What the client gets. Upstream answers 500 to some of these; all are the client's mistakes.
    pub fn status(&self) -> Status {
        let reason = match self {
            PatchError::TooManyOperations { .. } => Reason::RequestEntityTooLarge,
            PatchError::Operation(_) | PatchError::ListOfLists | PatchError::UnknownDirective { .. } => {
                Reason::Invalid
            }
            PatchError::Unsupported => Reason::UnsupportedMediaType,
            _ => Reason::BadRequest,
        };
        Status::new(reason, self.to_string())
    }

    pub(super) fn no_merge_key(item: &Map<String, Value>, key: &'static str) -> PatchError {
        PatchError::NoMergeKey { item: object_text(item), key }
    }

    pub(super) fn unknown_directive(directive: &Value, map: &Map<String, Value>) -> PatchError {
        PatchError::UnknownDirective { directive: text(directive), map: object_text(map) }
    }

    pub(super) fn wrong_type(expected: &'static str, received: &Value) -> PatchError {
        PatchError::WrongType { expected, received: type_name(received) }
    }
}

/// What Go calls an object that was decoded without a type.
pub(super) const OBJECT: &str = "map[string]interface {}";

/// What Go calls a list that was decoded without a type.
pub(super) const LIST: &str = "[]interface {}";

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => LIST,
        Value::Object(_) => OBJECT,
    }
}

/// A value as Go prints it in upstream's messages: `map[name:a ports:[1 2]]`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list_text(list),
        Value::Object(map) => object_text(map),
        other => other.to_string(),
    }
}

pub(super) fn list_text(list: &[Value]) -> String {
    let items: Vec<String> = list.iter().map(text).collect();
    format!("[{}]", items.join(" "))
}

fn object_text(map: &Map<String, Value>) -> String {
    let fields: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
    format!("map[{}]", fields.join(" "))
}
