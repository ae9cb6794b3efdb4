//! Answers: objects, lists, errors, with their headers.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use model::status::Status;
use serde_json::Value;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub(crate) type Answer = Response<Body>;

/// Answers from this size on are compressed for clients that can read it; upstream's limit.
const COMPRESS_BYTES_MIN: usize = 128 * 1024;
/// All warnings of an answer together, in bytes; upstream's limit.
const WARNINGS_BYTES_MAX: usize = 4 * 1024;

/// A body that is there at once.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of some media type.
pub(crate) fn bytes(code: u16, media: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(full(bytes));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// An answer in JSON.
pub(crate) fn json(code: u16, body: &Value) -> Answer {
    bytes(code, "application/json", Bytes::from(body.to_string()))
}

/// A refusal. A server with too much to do asks for a second's pause; one that refuses for a cause of its own
/// says itself whether trying again makes sense, because client libraries do so unasked where it is said.
pub(crate) fn refusal(status: &Status) -> Answer {
    let mut answer = json(status.code(), &status.to_value());
    let seconds = match (status.details.retry_after_seconds, status.code()) {
        (0, 429) if status.details.causes.is_empty() => 1,
        (seconds, _) => seconds,
    };
    if seconds > 0 {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// Adds `Warning` headers.
pub(crate) fn warn(answer: &mut Answer, warnings: Vec<String>) {
    let mut left = WARNINGS_BYTES_MAX;
    for warning in warnings {
        let text: String = warning.chars().filter(|character| !character.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        let header = format!("299 - \"{quoted}\"");
        if header.len() > left {
            break;
        }
        left -= header.len();
        if let Ok(header) = HeaderValue::from_bytes(header.as_bytes()) {
            answer.headers_mut().append("warning", header);
        }
    }
}

/// Compresses a large answer for a client that can read it.
pub(crate) fn compressed(headers: &HeaderMap, code: u16, media: &'static str, plain: Bytes) -> Answer {
    let accepts = headers
        .get_all(http::header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| matches!(coding.trim(), "gzip" | "*"));
    if plain.len() < COMPRESS_BYTES_MIN || !accepts {
        return bytes(code, media, plain);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    let Ok(packed) = encoder.write_all(&plain).and_then(|()| encoder.finish()) else {
        return bytes(code, media, plain);
    };
    let mut answer = bytes(code, media, Bytes::from(packed));
    answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    answer
}
