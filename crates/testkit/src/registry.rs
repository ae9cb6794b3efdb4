//! A registry on loopback that serves images from archives, for tests that pull.
//!
//! It speaks the reading half of the OCI distribution protocol over plain HTTP, as registries on loopback
//! do. Images are pushed by the test itself, also while a cluster already asks for them. It ends with its
//! value.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A running registry.
pub struct Registry {
    address: String,
    state: Arc<Mutex<State>>,
    /// Taken when it ends.
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct State {
    /// What is served, by path: its media type and its bytes.
    content: BTreeMap<String, (&'static str, Bytes)>,
    /// The value of `Authorization` that is wanted.
    authorization: Option<String>,
    /// Address of every request that was answered with content.
    served: Vec<String>,
}

impl Registry {
    /// A registry for everybody.
    pub fn start() -> Registry {
        Registry::serve(None)
    }

    /// A registry that wants this name and this password with every request.
    pub fn start_private(user: &str, password: &str) -> Registry {
        let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Registry::serve(Some(format!("Basic {both}")))
    }

    fn serve(authorization: Option<String>) -> Registry {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(Mutex::new(State { authorization, ..State::default() }));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = shared.lock().expect("no request panics").answer(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    // Whoever asks may go away at any moment.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Registry { address, state, runtime: Some(runtime) }
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves the first image of an OCI archive under this name; gives the digest of its manifest.
    pub fn push(&self, archive: &Path, repository: &str, tag: &str) -> String {
        let (manifest, blobs) = read(archive);
        let digest = manifest["digest"].as_str().expect("a descriptor has a digest").to_owned();
        let mut state = self.state.lock().expect("no request panics");
        for (hex, bytes) in blobs {
            if digest == format!("sha256:{hex}") {
                state.put(repository, "manifests", tag, MANIFEST, bytes.clone());
                state.put(repository, "manifests", &digest, MANIFEST, bytes);
            } else {
                state.put(repository, "blobs", &format!("sha256:{hex}"), "application/octet-stream", bytes);
            }
        }
        digest
    }

    /// Serves an index under this name: the image for this machine's architecture, and for another one that
    /// nobody here can have.
    pub fn push_for_several_architectures(&self, archive: &Path, repository: &str, tag: &str) {
        self.push(archive, repository, "only-this-architecture");
        let (mut own, _) = read(archive);
        let (this, other) = match std::env::consts::ARCH {
            "aarch64" => ("arm64", "amd64"),
            _ => ("amd64", "arm64"),
        };
        let mut foreign = own.clone();
        foreign["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
        foreign["platform"] = json!({"architecture": other, "os": "linux"});
        own["platform"] = json!({"architecture": this, "os": "linux"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, own]});
        let bytes = Bytes::from(index.to_string());
        let mut state = self.state.lock().expect("no request panics");
        state.put(repository, "manifests", tag, INDEX, bytes);
    }

    /// The requests with `part` in their address that were answered with content.
    pub fn served(&self, part: &str) -> Vec<String> {
        let state = self.state.lock().expect("no request panics");
        state.served.iter().filter(|address| address.contains(part)).cloned().collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn put(&mut self, repository: &str, room: &str, name: &str, kind: &'static str, bytes: Bytes) {
        self.content.insert(format!("/v2/{repository}/{room}/{name}"), (kind, bytes));
    }

    fn answer<B>(&mut self, request: &http::Request<B>) -> Response<Full<Bytes>> {
        let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        if self.authorization.is_some() && given != self.authorization.as_deref() {
            let refusal = Response::builder().status(StatusCode::UNAUTHORIZED);
            return refusal
                .header("www-authenticate", "Basic realm=\"test\"")
                .body(Full::default())
                .expect("valid headers");
        }
        let Some((kind, bytes)) = self.content.get(request.uri().path()) else {
            let missing = Response::builder().status(StatusCode::NOT_FOUND);
            return missing.body(Full::default()).expect("no headers");
        };
        self.served.push(request.uri().to_string());
        let found = Response::builder().header("content-type", *kind);
        found.body(Full::new(bytes.clone())).expect("valid headers")
    }
}

/// The first descriptor of an archive's index, without its names, and its blobs by the hexadecimal part of
/// their digest.
fn read(archive: &Path) -> (Value, Vec<(String, Bytes)>) {
    let file = std::fs::File::open(archive).expect("the archive is there");
    let mut index = Value::Null;
    let mut blobs = Vec::new();
    for entry in tar::Archive::new(file).entries().expect("an archive") {
        let mut entry = entry.expect("a whole archive");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a whole archive");
        if path == "index.json" {
            index = serde_json::from_slice(&bytes).expect("an index");
        } else if let Some(hex) = path.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            blobs.push((hex.to_owned(), Bytes::from(bytes)));
        }
    }
    let mut manifest = index["manifests"][0].take();
    let fields = manifest.as_object_mut().expect("an archive has an image");
    fields.remove("annotations");
    (manifest, blobs)
}
