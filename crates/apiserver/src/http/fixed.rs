//! The fixed paths: health, version, metrics, OpenAPI, discovery.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::json;

use super::respond::{self, Answer};
use crate::api::Api;
use crate::discovery::{self, Aggregated, Document};
use crate::request::path::ApiPath;

/// The version of Kubernetes whose API this is.
const GIT_VERSION: &str = "v1.37.0";
/// OpenAPI v2 as Go's client reads it. It asks for `v2@v1.0`, which is no media type that it could parse.
const OPENAPI_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Answers a path that is no resource; `None` when there is nothing at it.
pub(super) fn answer(api: &Api, path: &str, query: Option<&str>, headers: &HeaderMap) -> Option<Answer> {
    match path {
        "/version" | "/version/" => Some(respond::json(200, &version())),
        "/metrics" => {
            let text = api.metrics.render(api.store.as_ref()).unwrap_or_default();
            let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Some(respond::bytes(200, media, Bytes::from(text)))
        }
        "/openapi/v3" => Some(respond::bytes(200, "application/json", api.openapi.index())),
        "/openapi/v2" if wants_protobuf(headers) => Some(respond::bytes(200, OPENAPI_PROTOBUF, cover())),
        "/openapi/v2" => Some(document(&api.openapi.v2(), query, headers)),
        _ => match path.strip_prefix("/openapi/v3/") {
            Some(group) => api.openapi.document_v3(group).map(|found| document(&found, query, headers)),
            None => None,
        },
    }
}

/// Health is answered to everybody.
pub(super) fn health(api: &Api, path: &str) -> Option<Answer> {
    let first = path.strip_prefix('/')?.split('/').next()?;
    let (code, text) = match first {
        "livez" | "healthz" => (200, "ok"),
        "readyz" if api.is_ready() => (200, "ok"),
        "readyz" => (500, "[-]ordinal is starting or stopping\nreadyz check failed\n"),
        _ => return None,
    };
    Some(respond::bytes(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes())))
}

fn version() -> serde_json::Value {
    json!({
        "major": "1", "minor": "37",
        "gitVersion": format!("{GIT_VERSION}+ordinal.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("proto-openapi.spec.v2") && !accept.contains("json")
}

/// OpenAPI v2 as protobuf: the version (field 1) and what this is (field 2: title and version), without
/// definitions. kubectl asks for it where a manifest is a `List`, which no v3 document describes, to check
/// fields itself; finding no definition it leaves that to the server, which checks each item anyhow.
fn cover() -> Bytes {
    let field = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
        let mut field = vec![number << 3 | 2, length.expect("short texts: one byte says the length")];
        field.extend_from_slice(content);
        field
    };
    let info = [field(1, b"Kubernetes"), field(2, env!("CARGO_PKG_VERSION").as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info)].concat().into()
}

fn document(document: &crate::openapi::Document, query: Option<&str>, headers: &HeaderMap) -> Answer {
    let gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let mut answer = if gzip {
        let mut answer = respond::bytes(200, "application/json", document.gzip());
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        answer
    } else {
        respond::bytes(200, "application/json", document.json())
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    if document.is_named_by(query) {
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        answer.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    answer
}

/// Answers a discovery path.
pub(super) fn discover(api: &Api, path: &ApiPath, headers: &HeaderMap) -> Option<Answer> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = api.kinds();
    let form = discovery::aggregated(accept);
    let found = match path {
        ApiPath::Core => match form {
            Some(form) => discovery::aggregate(kinds, true, form),
            None => {
                let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
                discovery::core_versions(host.unwrap_or_default())
            }
        },
        ApiPath::Groups => match form {
            Some(form) => discovery::aggregate(kinds, false, form),
            None => discovery::group_list(kinds),
        },
        ApiPath::Group(name) => discovery::one_group(kinds, name)?,
        ApiPath::Version(group, version) => discovery::resources(kinds, group, version)?,
        ApiPath::Resource(_) => return None,
    };
    let aggregated = form.filter(|_| matches!(path, ApiPath::Core | ApiPath::Groups));
    Some(discovered(&found, aggregated, headers))
}

fn discovered(found: &Document, aggregated: Option<Aggregated>, headers: &HeaderMap) -> Answer {
    let media = match aggregated {
        None => "application/json",
        Some(Aggregated::V2) => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Some(Aggregated::V2Beta1) => {
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        }
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut answer = if known == Some(found.etag.as_str()) {
        respond::bytes(304, media, Bytes::new())
    } else {
        respond::bytes(200, media, found.body.clone())
    };
    if let Ok(etag) = HeaderValue::from_str(&found.etag) {
        answer.headers_mut().insert(header::ETAG, etag);
    }
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    answer
}
