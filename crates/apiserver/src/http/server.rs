//! Connections: accept, TLS, HTTP/1.1 or HTTP/2; every limit that keeps one client from harming the others.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use model::status::Status;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::respond::{self, Answer};
use super::route;
use crate::api::Api;
use crate::authn;
use crate::request::User;

/// A client must finish its handshake, and later each request's headers, within this.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head of a request: twice what the longest selector in use needs.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Streams that one HTTP/2 connection may have open; upstream's number.
const STREAMS_MAX: u32 = 250;
/// Longest audit id taken from a client; a UUID has 36.
const AUDIT_ID_BYTES_MAX: usize = 64;
/// How long open requests may go on after the shutdown began.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves `api` on `listener` until `shutdown` resolves.
pub async fn serve(
    api: Arc<Api>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let acceptor = TlsAcceptor::from(tls);
    let free = Arc::new(Semaphore::new(api.config.connections_max));
    let mut connections = JoinSet::new();
    let closing = CancellationToken::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let permit = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            permit = Arc::clone(&free).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: accepting again at once would spin.
                    tracing::warn!("accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (api, acceptor, closing) = (Arc::clone(&api), acceptor.clone(), closing.clone());
        connections.spawn(async move {
            connection(api, acceptor, stream, closing).await;
            drop(permit);
        });
    }
    closing.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(api: Arc<Api>, acceptor: TlsAcceptor, stream: TcpStream, closing: CancellationToken) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HEADERS_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!("TLS handshake: {error}"),
        Err(_) => return tracing::debug!("TLS handshake: timed out"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let user = certificates.and_then(<[_]>::first).and_then(authn::user_of).map(Arc::new);
    let carrier = Carrier { session: Arc::default(), closing: closing.clone() };
    let carries = carrier.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (api, user) = (Arc::clone(&api), user.clone());
        request.extensions_mut().insert(carries.clone());
        async move { Ok::<_, Infallible>(answer(api, user, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = &mut serving => served,
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        return tracing::debug!("connection: {error}");
    }
    // An exec or attach took the connection over: it runs here, now that HTTP is done with it.
    if let Some(session) = carrier.take() {
        session.await;
    }
}

/// What a request knows of the connection that carries it.
#[derive(Clone)]
pub(crate) struct Carrier {
    session: Arc<Mutex<Option<BoxFuture<'static, ()>>>>,
    /// Cancelled when the server shuts down: what would last ends itself.
    pub(crate) closing: CancellationToken,
}

impl Carrier {
    /// Leaves to the connection's own task what the connection is for after its upgrade.
    pub(crate) fn put(&self, session: BoxFuture<'static, ()>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// True for what may be repeated in answers and logs: a UUID, or something like it.
fn is_audit_id(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=AUDIT_ID_BYTES_MAX).contains(&text.len()) && text.iter().all(plain)
}

/// One request; whatever happens in it, it happens to it alone.
async fn answer(api: Arc<Api>, user: Option<Arc<User>>, request: Request<Incoming>) -> Answer {
    let audit_id = request
        .headers()
        .get("audit-id")
        .filter(|value| is_audit_id(value.as_bytes()))
        .cloned()
        .or_else(|| HeaderValue::from_str(&api.new_uid()).ok());
    let handled = std::panic::AssertUnwindSafe(route::handle(&api, user.as_deref(), request));
    let mut answer = handled.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a request handler panicked; the request is answered with 500");
        respond::refusal(&Status::internal("the request could not be handled"))
    });
    if let Some(audit_id) = audit_id {
        answer.headers_mut().insert("audit-id", audit_id);
    }
    answer
}
