//! The API of a running cluster, for commands in another process: the client's transport over HTTPS.
//!
//! Reads and asks; commands that write go through the API server's own process.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use client::transport::{Call, ListOptions, Reply, Target, Transport, Verb, Watch};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use model::encoded::{Encoded, Revision};
use model::status::{Reason, Status};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::cli::NotRunning;
use crate::data_dir::DataDir;

/// Largest answer that a command reads.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The API of the cluster in a data directory.
pub(crate) struct Remote {
    address: std::net::SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

impl Remote {
    /// Reaches the cluster that runs in `data_dir`.
    pub(crate) fn connect(data_dir: &DataDir) -> Result<Remote> {
        let not_running = || NotRunning(data_dir.root().display().to_string());
        let settings = data_dir.settings()?.ok_or_else(not_running)?;
        if !data_dir.is_locked() {
            return Err(not_running().into());
        }
        let mut roots = rustls::RootCertStore::empty();
        let file = |name: &str| data_dir.path(&format!("pki/{name}"));
        roots.add(CertificateDer::from_pem_file(file("ca.crt")).context("read the authority")?)?;
        let certificate = CertificateDer::from_pem_file(file("admin.crt")).context("read the certificate")?;
        let key = PrivateKeyDer::from_pem_file(file("admin.key")).context("read the key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        Ok(Remote { address: settings.listen, tls: Arc::new(tls) })
    }

    /// Puts a question: the answer, or the message of its refusal.
    ///
    /// # Errors
    /// The API cannot be reached.
    pub(crate) async fn post(&self, path: &str, question: &Value) -> Result<Result<Value, String>> {
        let body = serde_json::to_vec(question)?;
        let (code, bytes) = self.send(Method::POST, path, "application/json", body.into()).await?;
        let answer: Value = serde_json::from_slice(&bytes).context("read the answer")?;
        if code < 400 {
            return Ok(Ok(answer));
        }
        Ok(Err(answer["message"].as_str().unwrap_or_default().to_owned()))
    }

    async fn get(&self, path: &str) -> Result<(u16, Bytes)> {
        self.send(Method::GET, path, "", Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(u16, Bytes)> {
        let stream = TcpStream::connect(self.address).await.context("connect to the API")?;
        let name = ServerName::from(self.address.ip());
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("accept", "application/json");
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.body(Full::new(body))?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("read the answer: {error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        tokio::pin!(connection);
        tokio::select! {
            answer = exchange => answer,
            ended = &mut connection => {
                ended.context("talk to the API")?;
                anyhow::bail!("the API closed the connection")
            }
        }
    }
}

#[async_trait]
impl Transport for Remote {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        if !matches!(call.verb, Verb::Get | Verb::List) {
            return Err(Status::method_not_allowed());
        }
        let (code, bytes) =
            self.get(&path(&call.target)).await.map_err(|error| Status::internal(format!("{error:#}")))?;
        let failed = |error: serde_json::Error| Status::internal(format!("read the answer: {error}"));
        if code >= 400 {
            let value: Value = serde_json::from_slice(&bytes).map_err(failed)?;
            let reason = if code == 404 { Reason::NotFound } else { Reason::Unknown };
            return Err(Status::new(reason, value["message"].as_str().unwrap_or_default()));
        }
        let revision = |value: &Value| {
            let text = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            Revision(text.parse().unwrap_or_default())
        };
        if call.verb == Verb::Get {
            let value: Value = serde_json::from_slice(&bytes).map_err(failed)?;
            return Ok(Reply::Object(Arc::new(Encoded::new(bytes, revision(&value)))));
        }
        let mut list: Value = serde_json::from_slice(&bytes).map_err(failed)?;
        let Value::Array(items) = list["items"].take() else {
            return Ok(Reply::List(Vec::new(), revision(&list)));
        };
        let items = items
            .into_iter()
            .map(|item| {
                let bytes = serde_json::to_vec(&item).map_err(failed)?;
                Ok(Arc::new(Encoded::new(bytes.into(), revision(&item))))
            })
            .collect::<Result<_, Status>>()?;
        Ok(Reply::List(items, revision(&list)))
    }

    async fn watch(
        &self,
        _target: Target,
        _options: ListOptions,
        _after: Revision,
        _caller: &'static str,
    ) -> Result<Watch, Status> {
        Err(Status::method_not_allowed())
    }
}

fn path(target: &Target) -> String {
    let resource = &target.resource;
    let mut path = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    if !target.namespace.is_empty() {
        path.push_str(&format!("/namespaces/{}", target.namespace));
    }
    path.push_str(&format!("/{}", resource.resource));
    if !target.name.is_empty() {
        path.push_str(&format!("/{}", target.name));
    }
    path
}
