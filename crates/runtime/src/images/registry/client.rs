//! Requests to one endpoint: let in once, redirected at most a few times, each wait bounded.
//!
//! Read next: [`super::super::pull`] (what is asked for), [`super::connect`].

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, RANGE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::auth::{Challenge, encode};
use super::config::{Credentials, Endpoint};
use super::connect::connect;
use super::{FetchError, is_local};

/// Until a connection stands, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Until the headers of an answer, and then between two pieces of its body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Redirects that are followed: registries send to their storage with one, sometimes two.
const REDIRECTS_MAX: usize = 5;

/// Largest answer of a token service; tokens have a few KiB.
const TOKEN_BYTES_MAX: u64 = 256 << 10;

/// An endpoint, and the token it was last satisfied with.
pub(in crate::images) struct Client {
    endpoint: Endpoint,
    authorization: Mutex<Option<String>>,
}

/// An answer whose body is still to be read.
pub(in crate::images) struct Answer {
    response: Response<Incoming>,
    /// Ends the connection with the answer.
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    pub(in crate::images) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(in crate::images) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body; nothing at its end.
    pub(in crate::images) async fn piece(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = timeout(IDLE_TIMEOUT, self.response.body_mut().frame()).await;
            match frame {
                Err(_) => return Err(FetchError::Broken(format!("nothing came for {IDLE_TIMEOUT:?}"))),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(FetchError::Broken(format!("the transfer broke: {error}")));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// All of a small body.
    pub(in crate::images) async fn document(
        mut self,
        what: &str,
        bytes_max: u64,
    ) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            if (bytes.len() + piece.len()) as u64 > bytes_max {
                return Err(FetchError::too_large(what, bytes_max));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

impl Client {
    pub(in crate::images) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, authorization: Mutex::new(None) }
    }

    /// The endpoint's address, for people.
    pub(in crate::images) fn name(&self) -> &str {
        self.endpoint.base.trim_end_matches("/v2")
    }

    /// Asks for `manifests/<version>` or `blobs/<digest>` of the repository, from `offset` on.
    pub(in crate::images) async fn get(
        &self,
        path: &str,
        accept: &str,
        offset: u64,
    ) -> Result<Answer, FetchError> {
        let mut address = format!("{}/{}/{path}", self.endpoint.base, self.endpoint.repository);
        if let Some(namespace) = &self.endpoint.namespace {
            address += &format!("?ns={}", encode(namespace));
        }
        let authorization = self.authorization.lock().await.clone();
        let answer = self.follow(&address, accept, offset, authorization.clone()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return checked(answer, path).await;
        }
        let authorization = self.authorize(&answer, authorization).await?;
        checked(self.follow(&address, accept, offset, Some(authorization)).await?, path).await
    }

    async fn follow(
        &self,
        address: &str,
        accept: &str,
        offset: u64,
        mut authorization: Option<String>,
    ) -> Result<Answer, FetchError> {
        let mut uri = parse(address)?;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = Request::get(&uri).header(ACCEPT, accept);
            if let Some(authorization) = &authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let answer = self.send(request, Bytes::new()).await?;
            if !answer.status().is_redirection() || answer.status() == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let location = answer.header(LOCATION.as_str()).unwrap_or_default();
            let next = resolve(&uri, location)?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(FetchError::Denied(format!("{uri} sends from https to {next}")));
            }
            if (next.scheme(), next.authority()) != (uri.scheme(), uri.authority()) {
                authorization = None;
            }
            uri = next;
        }
        Err(FetchError::Denied(format!("{address} redirects more than {REDIRECTS_MAX} times")))
    }

    /// Gets what the answer asks for; many requests at once get it once.
    async fn authorize(&self, answer: &Answer, refused: Option<String>) -> Result<String, FetchError> {
        let mut current = self.authorization.lock().await;
        if let Some(newer) = current.as_ref().filter(|newer| Some(*newer) != refused.as_ref()) {
            return Ok(newer.clone());
        }
        let headers = answer.response.headers().get_all(WWW_AUTHENTICATE);
        let challenges = headers.iter().filter_map(|header| header.to_str().ok());
        let challenge = challenges.filter_map(Challenge::parse).next();
        let granted = match challenge {
            None => return Err(FetchError::Denied("access is denied (401)".to_owned())),
            Some(Challenge::Basic) => match &self.endpoint.credentials {
                Credentials::Password(auth) => basic(&auth.username, &auth.password),
                _ => {
                    return Err(FetchError::Denied("a user name and a password are needed (401)".to_owned()));
                }
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.endpoint.repository));
                format!("Bearer {}", self.token(&realm, service.as_deref(), &scope).await?)
            }
        };
        *current = Some(granted.clone());
        Ok(granted)
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String, FetchError> {
        #[derive(serde::Deserialize)]
        struct Granted {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
        }
        let uri = parse(realm)?;
        let is_safe =
            uri.scheme_str() == Some("https") || uri.authority().is_some_and(|host| is_local(host.as_str()));
        if self.endpoint.credentials != Credentials::Anonymous && !is_safe {
            return Err(FetchError::Denied(format!("{realm} wants credentials without encryption")));
        }
        let service = service.map(|service| format!("&service={}", encode(service))).unwrap_or_default();
        let scope = encode(scope);
        let mark = if uri.query().is_some() { '&' } else { '?' };
        let (request, body) = match &self.endpoint.credentials {
            Credentials::Identity(token) => {
                let token = encode(token);
                let form = format!(
                    "grant_type=refresh_token&client_id=ordinal&refresh_token={token}&scope={scope}{service}"
                );
                let request = Request::builder().method(Method::POST).uri(uri);
                (request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"), Bytes::from(form))
            }
            Credentials::Password(auth) => {
                let request = Request::get(parse(&format!("{realm}{mark}scope={scope}{service}"))?);
                (request.header(AUTHORIZATION, basic(&auth.username, &auth.password)), Bytes::new())
            }
            Credentials::Anonymous => {
                (Request::get(parse(&format!("{realm}{mark}scope={scope}{service}"))?), Bytes::new())
            }
        };
        let answer = self.send(request, body).await?;
        let status = answer.status();
        if !status.is_success() {
            return Err(unsuccessful(status, "a token is not given"));
        }
        let bytes = answer.document("a token", TOKEN_BYTES_MAX).await?;
        let granted: Granted = serde_json::from_slice(&bytes).map_err(|error| {
            FetchError::Denied(format!("what the token service says cannot be read: {error}"))
        })?;
        let token = if granted.token.is_empty() { granted.access_token } else { granted.token };
        if token.is_empty() {
            return Err(FetchError::Denied("the token service gives no token".to_owned()));
        }
        Ok(token)
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Answer, FetchError> {
        let malformed = |error: http::Error| FetchError::Denied(format!("make a request: {error}"));
        let mut request = request
            .header(USER_AGENT, concat!("ordinal/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(malformed)?;
        let uri = request.uri().clone();
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = host.parse().map_err(|_| FetchError::Denied(format!("{host:?} is not a host")))?;
        request.headers_mut().insert(HOST, host);
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() =
            target.parse().map_err(|_| FetchError::Denied(format!("{uri} is not an address")))?;
        let late = |what: &str| FetchError::Broken(format!("{what} took too long"));
        // The endpoint's own certificates are for its own host; where it sends us the machine's roots hold.
        let own = self.endpoint.base.parse::<Uri>().ok();
        let is_own = own.is_some_and(|own| own.authority() == uri.authority());
        let tls = if is_own { self.endpoint.tls.clone() } else { Default::default() };
        let stream =
            timeout(CONNECT_TIMEOUT, connect(&uri, &tls)).await.map_err(|_| late("connecting"))??;
        let broken = |error: hyper::Error| FetchError::Broken(format!("ask {uri}: {error}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong is seen by whoever reads the answer.
            let _ = connection.await;
        }));
        let answer = timeout(IDLE_TIMEOUT, sender.send_request(request)).await;
        let response = answer.map_err(|_| late("the answer"))?.map_err(broken)?;
        Ok(Answer { response, _connection: connection })
    }
}

async fn checked(answer: Answer, what: &str) -> Result<Answer, FetchError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    Err(unsuccessful(answer.status(), what))
}

fn unsuccessful(status: StatusCode, what: &str) -> FetchError {
    let reason = match status {
        StatusCode::NOT_FOUND => format!("{what} is not there (404)"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("{what}: access is denied ({})", status.as_u16())
        }
        other => format!("{what}: the answer is {other}"),
    };
    let is_passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if is_passing { FetchError::Broken(reason) } else { FetchError::Denied(reason) }
}

fn basic(username: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {encoded}")
}

fn parse(address: &str) -> Result<Uri, FetchError> {
    let uri: Uri = address
        .parse()
        .map_err(|error| FetchError::Denied(format!("{address:?} is not an address: {error}")))?;
    if uri.host().is_none() || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(FetchError::Denied(format!("{address:?} is not an http or https address")));
    }
    Ok(uri)
}

/// Where a `Location` leads: a full address, or a path on the same host.
fn resolve(from: &Uri, location: &str) -> Result<Uri, FetchError> {
    if location.starts_with('/') && !location.starts_with("//") {
        let scheme = from.scheme_str().unwrap_or("https");
        let host = from.authority().map(ToString::to_string).unwrap_or_default();
        return parse(&format!("{scheme}://{host}{location}"));
    }
    parse(location)
}
