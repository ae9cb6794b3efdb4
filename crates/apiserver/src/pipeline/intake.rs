//! From a decoded body to an object of the kind asked for.
//!
//! After this every field has its declared type and none is unknown, so that decoding into the kind's type
//! succeeds. It must not fill anything in.

use model::field::{Error, Path};
use model::resource::GroupVersionKind;
use model::status::Status;
use serde_json::Value;

use crate::kind::Kind;
use crate::request::{Context, FieldValidation, Input, WriteOptions};

/// Most characters of one unknown-field report; a body may be 3 MiB of unknown fields.
const REPORTED_FIELDS_MAX: usize = 32;

/// Checks `input` against the kind's schema and drops what is unknown.
pub(crate) fn accept(
    cx: &Context,
    kind: &Kind,
    input: Input,
    options: &WriteOptions,
) -> Result<Value, Status> {
    let Input { mut value, duplicate_fields } = input;
    if !value.is_object() {
        return Err(cannot_be_handled(kind, "json: cannot unmarshal the body into an object"));
    }
    check_type(kind, &mut value)?;
    let unknown_fields = check_schema(kind, &mut value).map_err(|text| cannot_be_handled(kind, &text))?;
    let complaints = complaints(&unknown_fields, &duplicate_fields);
    match options.field_validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            let text = format!("strict decoding error: {}", complaints.join(", "));
            Err(cannot_be_handled(kind, &text))
        }
        FieldValidation::Warn => {
            complaints.into_iter().for_each(|complaint| cx.warn(complaint));
            Ok(value)
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(value),
    }
}

/// The same for the result of a patch, whose errors read differently.
pub(crate) fn accept_patched(
    cx: &Context,
    kind: &Kind,
    value: &mut Value,
    patch: &Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    let invalid = |text: String| {
        let nameless = GroupVersionKind::constant("", "", "");
        let error = Error::invalid(&Path::new("patch"), patch.to_string(), text);
        Status::invalid(&nameless, "", &vec![error])
    };
    check_type(kind, value)?;
    let unknown_fields = check_schema(kind, value).map_err(invalid)?;
    let complaints = complaints(&unknown_fields, &[]);
    match options.field_validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            Err(invalid(format!("strict decoding error: {}", complaints.join(", "))))
        }
        FieldValidation::Warn => {
            complaints.into_iter().for_each(|complaint| cx.warn(complaint));
            Ok(())
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
    }
}

fn check_type(kind: &Kind, value: &mut Value) -> Result<(), Status> {
    let expected = kind.gvk.api_version();
    match value.get("apiVersion").and_then(Value::as_str).unwrap_or_default() {
        "" => {}
        same if same == expected => {}
        other => {
            return Err(Status::bad_request(format!(
                "the API version in the data ({other}) does not match the expected API version ({expected})"
            )));
        }
    }
    match value.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "" => {}
        same if same == kind.gvk.kind => {}
        other => {
            let text = format!(
                "converting ({}.{other}) to ({}.{}): unknown conversion",
                kind.gvk.version, kind.gvk.group, kind.gvk.kind
            );
            return Err(cannot_be_handled(kind, &text));
        }
    }
    value["apiVersion"] = expected.into();
    value["kind"] = kind.gvk.kind.as_ref().into();
    if !value["metadata"].is_object() {
        if !value["metadata"].is_null() {
            return Err(cannot_be_handled(kind, "json: cannot unmarshal metadata into an object"));
        }
        value["metadata"] = Value::Object(serde_json::Map::new());
    }
    Ok(())
}

fn check_schema(kind: &Kind, value: &mut Value) -> Result<Vec<String>, String> {
    let checked = model::schema::definitions().check(kind.definition, value);
    match checked.type_errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(checked.unknown_fields),
    }
}

fn complaints(unknown: &[String], duplicate: &[String]) -> Vec<String> {
    let unknown = unknown.iter().cloned();
    let duplicate = duplicate.iter().map(|field| format!("duplicate field {field:?}"));
    duplicate.chain(unknown).take(REPORTED_FIELDS_MAX).collect()
}

fn cannot_be_handled(kind: &Kind, text: &str) -> Status {
    let name = &kind.gvk.kind;
    let version = kind.gvk.api_version();
    Status::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {text}"))
}
