//! Request bodies: from bytes to one JSON tree, whatever the client spoke.
//!
//! JSON, YAML and Kubernetes' protobuf come out as the same [`Value`]; nothing behind this module knows which
//! it was. What is bounded here is nesting and expansion; the size of the body is bounded where it is read
//! from the socket, and again here.
//!
//! Read next: [`tree`] for duplicate fields, [`crate::protobuf`] for the binary encoding.

use serde_json::Value;

use crate::protobuf;
use crate::status::{Reason, Status};

mod tree;
mod yaml;

/// The largest body: 3 MiB, as upstream.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// JSON.
pub const JSON: &str = "application/json";
/// YAML.
pub const YAML: &str = "application/yaml";
/// Kubernetes' envelope around protocol buffers.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The encodings a body can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// [`JSON`]; also what a body without a content type is taken for.
    Json,
    /// [`YAML`].
    Yaml,
    /// [`PROTOBUF`].
    Protobuf,
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The whole tree; of a field given twice, the last value.
    pub value: Value,
    /// Paths of fields given twice, such as `spec.replicas`, in the order found; at most
    /// [`DUPLICATES_MAX`]. Empty unless asked for.
    pub duplicate_fields: Vec<String>,
}

/// How many duplicate fields of one body are reported.
pub const DUPLICATES_MAX: usize = 100;

/// Which encoding a `Content-Type` header names; parameters are ignored.
pub fn encoding(content_type: Option<&str>) -> Result<Encoding, Status> {
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() || media_type.eq_ignore_ascii_case(JSON) {
        Ok(Encoding::Json)
    } else if media_type.eq_ignore_ascii_case(YAML) {
        Ok(Encoding::Yaml)
    } else if media_type.eq_ignore_ascii_case(PROTOBUF) {
        Ok(Encoding::Protobuf)
    } else {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {JSON}, {YAML}, {PROTOBUF}"
        );
        Err(Status::new(Reason::UnsupportedMediaType, message))
    }
}

/// Decodes a body. `strict` asks for the duplicate fields; they are never an error here.
pub fn decode(content_type: Option<&str>, bytes: &[u8], strict: bool) -> Result<Decoded, Status> {
    let encoding = encoding(content_type)?;
    if bytes.len() > BODY_BYTES_MAX {
        let message = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
        return Err(Status::new(Reason::RequestEntityTooLarge, message));
    }
    let mut decoded = match encoding {
        Encoding::Json => tree::from_json(bytes).map_err(|error| {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
        })?,
        Encoding::Yaml => yaml::decode(bytes)
            .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?,
        Encoding::Protobuf => {
            let value = protobuf::decode(bytes).map_err(|error| Status::bad_request(error.to_string()))?;
            Decoded { value, duplicate_fields: Vec::new() }
        }
    };
    if !strict {
        decoded.duplicate_fields.clear();
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests;
