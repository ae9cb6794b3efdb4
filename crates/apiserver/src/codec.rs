//! Objects to stored bytes and back.
//!
//! Stored bytes are served bytes. They begin
//! `{"kind":"K","apiVersion":"V","metadata":{"resourceVersion":"…"`, so that the store can fill the revision
//! in and [`restamp`] can change it without parsing.

use std::sync::Arc;

use bytes::Bytes;
use model::encoded::{Encoded, Revision};
use model::status::Status;
use serde_json::Value;
use store::Template;

use crate::events;
use crate::kind::Kind;

const MARK: &[u8] = b"\"metadata\":{\"resourceVersion\":\"";
/// Kind and apiVersion are short: the mark is found in the first bytes or not at all.
const MARK_WITHIN: usize = 512;

/// The bytes of `object`, an object of `kind` as clients see it, with a hole for its revision.
pub(crate) fn template(kind: &Kind, object: &Value) -> Result<Template, Status> {
    match events::conversion(kind) {
        Some(conversion) => encode(conversion.stored, &(conversion.to_stored)(object)),
        None => encode(kind, object),
    }
}

fn encode(kind: &Kind, object: &Value) -> Result<Template, Status> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(b"{\"kind\":");
    append(&mut bytes, &Value::from(kind.gvk.kind.as_ref()))?;
    bytes.extend_from_slice(b",\"apiVersion\":");
    append(&mut bytes, &Value::from(kind.gvk.api_version()))?;
    bytes.push(b',');
    bytes.extend_from_slice(MARK);
    let hole = bytes.len();
    bytes.push(b'"');
    if let Some(metadata) = object["metadata"].as_object() {
        append_fields(&mut bytes, metadata, &["resourceVersion", "managedFields", "selfLink"])?;
    }
    bytes.push(b'}');
    if let Some(fields) = object.as_object() {
        append_fields(&mut bytes, fields, &["kind", "apiVersion", "metadata"])?;
    }
    bytes.push(b'}');
    Ok(Template { bytes: Bytes::from(bytes), revision_hole: Some(hole) })
}

fn append_fields(
    bytes: &mut Vec<u8>,
    fields: &serde_json::Map<String, Value>,
    without: &[&str],
) -> Result<(), Status> {
    for (name, value) in fields {
        if without.contains(&name.as_str()) {
            continue;
        }
        bytes.push(b',');
        append(bytes, &Value::from(name.as_str()))?;
        bytes.push(b':');
        append(bytes, value)?;
    }
    Ok(())
}

fn append(bytes: &mut Vec<u8>, value: &Value) -> Result<(), Status> {
    serde_json::to_writer(bytes, value).map_err(|error| Status::internal(format!("encode: {error}")))
}

/// The template's bytes as if it had been committed at `revision`.
pub(crate) fn fill(template: &Template, revision: Revision) -> Bytes {
    let Some(hole) = template.revision_hole else { return template.bytes.clone() };
    splice(&template.bytes, hole, hole, revision)
}

/// The same version under another revision: what a watcher gets when an object leaves its selection.
pub(crate) fn restamp(object: &Encoded, revision: Revision) -> Arc<Encoded> {
    let bytes = object.bytes();
    let head = &bytes[..bytes.len().min(MARK_WITHIN)];
    let Some(at) = head.windows(MARK.len()).position(|window| window == MARK) else {
        return Arc::new(Encoded::new(bytes.clone(), revision));
    };
    let start = at + MARK.len();
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    Arc::new(Encoded::new(splice(bytes, start, start + digits, revision), revision))
}

fn splice(bytes: &[u8], start: usize, end: usize, revision: Revision) -> Bytes {
    let digits = revision.to_string();
    let mut spliced = Vec::with_capacity(bytes.len() + digits.len());
    spliced.extend_from_slice(&bytes[..start]);
    spliced.extend_from_slice(digits.as_bytes());
    spliced.extend_from_slice(&bytes[end..]);
    Bytes::from(spliced)
}

/// A stored version as clients of `kind` see it: the very same where the kind is stored as it is.
pub(crate) fn present(kind: &Kind, stored: &Arc<Encoded>) -> Result<Arc<Encoded>, Status> {
    let Some(conversion) = events::conversion(kind) else { return Ok(Arc::clone(stored)) };
    let converted = (conversion.from_stored)(&value(stored)?);
    let bytes = fill(&encode(kind, &converted)?, stored.revision());
    Ok(Arc::new(Encoded::new(bytes, stored.revision())))
}

/// An object's tree.
pub(crate) fn value(object: &Encoded) -> Result<Value, Status> {
    object.value().map_err(|error| Status::internal(format!("{error}: {}", error.source)))
}

/// An object that was never stored (a dry run): its bytes say so by carrying no revision.
pub(crate) fn unstored(kind: &Kind, object: &Value) -> Result<Arc<Encoded>, Status> {
    let mut object = object.clone();
    object["kind"] = kind.gvk.kind.as_ref().into();
    object["apiVersion"] = kind.gvk.api_version().into();
    let bytes = serde_json::to_vec(&object).map_err(|error| Status::internal(format!("encode: {error}")))?;
    Ok(Arc::new(Encoded::new(Bytes::from(bytes), Revision(0))))
}
