//! One connection to the API: HTTP/1.1 over TLS with the administrator's certificate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

/// Where the API is and how to prove who asks.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) data_dir: PathBuf,
}

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Api {
    /// The client's half of TLS; fails until the cluster has made its certificates.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>> {
        let file = |name: &str| self.data_dir.join("pki").join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.crt")).context("read the authority")?)?;
        let certificate = CertificateDer::from_pem_file(file("admin.crt")).context("read the certificate")?;
        let key = PrivateKeyDer::from_pem_file(file("admin.key")).context("read the key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        Ok(Arc::new(config))
    }

    /// Connects; the connection is carried by a task that ends with it.
    pub(crate) async fn connect(&self, tls: &Arc<ClientConfig>) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, host: self.address.to_string() })
    }
}

impl Connection {
    /// Sends a request and gives the answer as it comes.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<http::Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Sends a request and reads its whole answer, which must be a success.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path} answered {status}: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }

    /// Reads an object.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        let answer = self.call(Method::GET, path, Bytes::new()).await?;
        serde_json::from_slice(&answer).context("read the object")
    }
}
