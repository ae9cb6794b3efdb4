//! A small registry on loopback, and the ways in which registries misbehave.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::build::Image;
use crate::images::Digest;

/// What a registry does beyond serving.
#[derive(Default, Clone)]
pub(super) struct Behaviour {
    /// Wants a token, given for this user name and password (none for anybody).
    pub(super) token_for: Option<Option<(&'static str, &'static str)>>,
    /// Wants this user name and password with every request.
    pub(super) basic: Option<(&'static str, &'static str)>,
    /// Breaks each transfer of a blob after so many bytes.
    pub(super) break_after: Option<usize>,
    /// Knows no ranges.
    pub(super) no_ranges: bool,
    /// Answers the first so many requests with 503.
    pub(super) unavailable: usize,
    /// Sends for blobs to this address instead.
    pub(super) redirect_blobs: Option<String>,
}

/// The registry; it ends with this value.
pub(super) struct Server {
    pub(super) address: String,
    /// Method, path, authorization and range of every request.
    seen: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

type Content = BTreeMap<String, Vec<u8>>;
type Body = BoxBody<Bytes, std::io::Error>;

impl Server {
    /// Serves these images, each under a repository and a tag.
    pub(super) async fn start(images: &[(&str, &str, &Image)], behaviour: Behaviour) -> Self {
        let mut content = Content::new();
        for (repository, tag, image) in images {
            content.insert(format!("/v2/{repository}/manifests/{tag}"), image.manifest.clone());
            for (digest, bytes) in image.blobs() {
                let kind = if digest == Digest::of(&image.manifest) { "manifests" } else { "blobs" };
                content.insert(format!("/v2/{repository}/{kind}/{digest}"), bytes);
            }
        }
        Self::serve(content, behaviour).await
    }

    /// Serves exactly this.
    pub(super) async fn serve(content: Content, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new((content, behaviour, Arc::clone(&seen), address.clone()));
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = answer(&shared.0, &shared.1, &shared.2, &shared.3, &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, seen, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(super) fn seen(&self, part: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|request| request.contains(part)).cloned().collect()
    }
}

fn answer(
    content: &Content,
    behaviour: &Behaviour,
    seen: &Mutex<Vec<String>>,
    address: &str,
    request: &Request<Incoming>,
) -> Response<Body> {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (path, authorization, range) = (request.uri().path(), header("authorization"), header("range"));
    let count = {
        let mut seen = seen.lock().unwrap();
        seen.push(format!("{} auth={authorization} range={range}", request.uri()));
        seen.len()
    };
    if count <= behaviour.unavailable {
        return plain(503, Vec::new());
    }
    let basic = |(user, password): (&str, &str)| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    };
    if path == "/token" {
        let allowed = behaviour.token_for.flatten().is_none_or(|who| authorization == basic(who));
        return if allowed {
            plain(200, br#"{"token":"let-me-in"}"#.to_vec())
        } else {
            plain(401, Vec::new())
        };
    }
    let challenge = if behaviour.token_for.is_some() && authorization != "Bearer let-me-in" {
        Some(format!(r#"Bearer realm="http://{address}/token",service="test",scope="repository:x:pull""#))
    } else if behaviour.basic.is_some_and(|who| authorization != basic(who)) {
        Some("Basic realm=\"test\"".to_owned())
    } else {
        None
    };
    if let Some(challenge) = challenge {
        let mut response = plain(401, Vec::new());
        response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        return response;
    }
    if let Some(elsewhere) = behaviour.redirect_blobs.as_ref().filter(|_| path.contains("/blobs/")) {
        let mut response = plain(307, Vec::new());
        response.headers_mut().insert("location", format!("{elsewhere}{path}").parse().unwrap());
        return response;
    }
    let Some(bytes) = content.get(path) else { return plain(404, Vec::new()) };
    let offset =
        range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    let offset = offset.filter(|offset| !behaviour.no_ranges && *offset < bytes.len());
    let rest = bytes[offset.unwrap_or(0)..].to_vec();
    let mut response = match behaviour.break_after.filter(|_| path.contains("/blobs/")) {
        Some(after) if after < rest.len() => broken(rest, after),
        _ => plain(200, rest),
    };
    if let Some(offset) = offset {
        *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {offset}-{}/{}", bytes.len() - 1, bytes.len());
        response.headers_mut().insert("content-range", range.parse().unwrap());
    }
    response
}

fn plain(status: u16, bytes: Vec<u8>) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(bytes)).map_err(|never| match never {});
    Response::builder().status(status).body(BoxBody::new(body)).unwrap()
}

/// Says how much will come, and breaks the connection before.
fn broken(bytes: Vec<u8>, after: usize) -> Response<Body> {
    let length = bytes.len();
    let pieces: Vec<std::io::Result<Frame<Bytes>>> = vec![
        Ok(Frame::data(Bytes::from(bytes[..after].to_vec()))),
        Err(std::io::Error::other("the test breaks it here")),
    ];
    // The pieces come one by one, so that the first is sent before the second breaks the connection.
    let stream = futures::stream::unfold(pieces.into_iter(), |mut pieces| async move {
        tokio::task::yield_now().await;
        pieces.next().map(|piece| (piece, pieces))
    });
    Response::builder().header("content-length", length).body(BoxBody::new(StreamBody::new(stream))).unwrap()
}
