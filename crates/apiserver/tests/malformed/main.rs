//! Requests that no client should send, by the hundred, over TLS: each is refused with the right Status, and
//! none changes anything, makes a handler panic or makes the server grow. And what the server owes to
//! strangers.

mod cases;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::{Api, bootstrap, http, pki};
use cases::Case;
use client::transport::{Body, Target, Verb};
use client::{Client, Reply};
use model::clock::FixedClock;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// Requests under way at once; with the largest bodies about 4 times 3 MiB on either side.
const AT_ONCE: usize = 4;
/// What the whole process (both ends) may grow by: the bodies under way, decoded (a tree takes some ten
/// times its text), and what the allocator keeps.
const GROWTH_BYTES_MAX: u64 = 512 * 1024 * 1024;

struct Server {
    api: Arc<Api>,
    address: SocketAddr,
    connector: TlsConnector,
    /// Of a client without a certificate.
    stranger: TlsConnector,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn start() -> Server {
    let now = jiff::Timestamp::now();
    let api = Api::in_memory(Arc::new(FixedClock(now)));
    bootstrap::ensure(&api, [127, 0, 0, 1].into(), 6443).await.expect("bootstraps");
    let authority = pki::authority(now).expect("an authority");
    let serving = pki::serving(&authority, &[], &[], now).expect("a certificate");
    let admin = pki::admin(&authority, now).expect("a certificate");
    let tls = pki::server_config(&authority.certificate, &serving).expect("TLS");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(http::serve(Arc::clone(&api), listener, tls, async move {
        let _ = stopped.await;
    }));
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).expect("PEM"))
        .expect("a root");
    let chain = vec![CertificateDer::from_pem_slice(admin.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(admin.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let stranger = TlsConnector::from(Arc::new(builder.clone().with_no_client_auth()));
    let config = builder.with_client_auth_cert(chain, key).expect("a client");
    Server { api, address, connector: TlsConnector::from(Arc::new(config)), stranger, stop, task }
}

/// Sends a request in plain HTTP/1.1 and reads all of the answer.
async fn send(address: SocketAddr, connector: &TlsConnector, case: &Case) -> (u16, String) {
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let stream = connector.connect(name, stream).await.expect("a handshake");
    let mut head = format!("{} {} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n", case.method, case.target);
    for (name, value) in &case.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !case.body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", case.body.len()));
    }
    head.push_str("\r\n");
    let (mut reader, mut writer) = tokio::io::split(stream);
    // The server may refuse, and close, before it has read everything.
    let write = async {
        if writer.write_all(head.as_bytes()).await.is_ok() {
            let _ = writer.write_all(&case.body).await;
        }
        let _ = writer.flush().await;
    };
    let mut answer = Vec::new();
    let read = async {
        let _ = reader.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(write, read) })
        .await
        .unwrap_or_else(|_| panic!("{}: no answer in time", case.name));
    let text = String::from_utf8_lossy(&answer).into_owned();
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (code, body)
}

/// Everything there is, as text, by key.
async fn everything(api: &Arc<Api>) -> BTreeMap<String, Vec<u8>> {
    let client = Client::new(api.transport(), "test");
    let mut all = BTreeMap::new();
    for kind in api.kinds() {
        let target = Target {
            resource: kind.gvr.clone(),
            namespace: String::new(),
            name: String::new(),
            subresource: "",
        };
        let reply = client.call(Verb::List, target, Body::Empty).await.expect("lists");
        let Reply::List(objects, _) = reply else { panic!("{reply:?}") };
        for object in objects {
            let metadata = object.metadata().expect("metadata");
            let key = format!("{} {:?} {:?}", kind.gvr.resource, metadata.namespace, metadata.name);
            all.insert(key, object.bytes().to_vec());
        }
    }
    all
}

async fn make(api: &Arc<Api>, resource: (&'static str, &'static str, &'static str), object: Value) {
    let client = Client::new(api.transport(), "test");
    let target = Target {
        resource: model::resource::GroupVersionResource::constant(resource.0, resource.1, resource.2),
        namespace: "default".to_owned(),
        name: String::new(),
        subresource: "",
    };
    client.call(Verb::Create, target, Body::Object(object)).await.expect("creates");
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_and_change_nothing() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let server = start().await;
    make(&server.api, ("", "v1", "configmaps"), json!({"metadata": {"name": "held"}, "data": {"a": "1"}}))
        .await;
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut held = pod.clone();
    held["metadata"] = json!({"name": "held"});
    make(&server.api, ("", "v1", "pods"), held).await;
    let mut template = pod;
    template["metadata"] = json!({"labels": {"app": "x"}});
    let set = json!({
        "metadata": {"name": "held"},
        "spec": {"serviceName": "x", "selector": {"matchLabels": {"app": "x"}}, "template": template},
    });
    make(&server.api, ("apps", "v1", "statefulsets"), set).await;

    let cases = cases::all(server.api.kinds());
    assert!(cases.len() >= 500, "only {} requests", cases.len());
    let before = everything(&server.api).await;
    let revision = server.api.revision();
    let memory = peak_bytes();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        eprintln!("{info}");
    }));
    let mut wrong = Vec::new();
    {
        use futures::StreamExt;
        let (address, connector) = (server.address, &server.connector);
        let answers = futures::stream::iter(&cases)
            .map(|case| async move { (case, send(address, connector, case).await) })
            .buffer_unordered(AT_ONCE);
        let mut answers = std::pin::pin!(answers);
        while let Some((case, (code, body))) = answers.next().await {
            if let Err(why) = case.check(code, &body) {
                wrong.push(format!("{}: {why}", case.name));
            }
        }
    }
    std::panic::set_hook(usual);
    assert!(wrong.is_empty(), "{} of {} answers are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a handler panicked");
    assert_eq!(server.api.revision(), revision, "something was written");
    assert_eq!(everything(&server.api).await, before);
    let grown = peak_bytes().saturating_sub(memory);
    assert!(grown < GROWTH_BYTES_MAX, "the process grew by {grown} bytes");
    drop(server.stop);
    server.task.await.expect("the server ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_health_is_answered_without_a_certificate() {
    let server = start().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz?verbose"] {
        let (code, body) = send(server.address, &server.stranger, &Case::new("GET", path, 200, "")).await;
        assert_eq!((code, body.as_str()), (200, "ok"), "{path}");
    }
    for path in
        ["/", "/version", "/metrics", "/api", "/apis", "/openapi/v3", "/api/v1/pods", "/livezz", "/nope"]
    {
        let case = Case::new("GET", path, 401, "Unauthorized");
        let (code, body) = send(server.address, &server.stranger, &case).await;
        assert_eq!(case.check(code, &body), Ok(()), "{path}");
    }
    server.api.set_ready(false);
    let (code, _) = send(server.address, &server.stranger, &Case::new("GET", "/readyz", 500, "")).await;
    assert_eq!(code, 500);
    let (code, _) = send(server.address, &server.stranger, &Case::new("GET", "/livez", 200, "")).await;
    assert_eq!(code, 200);
    drop(server.stop);
    server.task.await.expect("the server ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_watch_does_not_hold_the_shutdown_up() {
    let server = start().await;
    let case = Case::new("GET", "/api/v1/namespaces?watch=true", 200, "");
    let connector = server.connector.clone();
    let watch = tokio::spawn(async move { send(server.address, &connector, &case).await });
    let began = async {
        while !server.api.has_watchers() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), began).await.expect("the watch begins");
    drop(server.stop);
    // Less than what open requests are given to end by themselves.
    let stopped = tokio::time::timeout(Duration::from_secs(4), server.task).await;
    stopped.expect("the server ends soon").expect("the server ends");
    let (code, body) = watch.await.expect("the watch ends");
    assert_eq!(code, 200);
    // It was ended in order; how much of it was sent before depends on when the end came.
    assert!(body.ends_with("0\r\n\r\n"), "{body}");
}
