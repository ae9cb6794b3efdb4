//! Connections: TCP, and TLS with the machine's own roots or what `registries.yaml` says.
//!
//! Read next: [`super::client`] (who connects).

use std::sync::Arc;

use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::FetchError;
use super::config::Tls;

/// A byte stream to a registry.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to an address.
pub(super) async fn connect(uri: &Uri, tls: &Tls) -> Result<Box<dyn Stream>, FetchError> {
    let host = uri.host().ok_or_else(|| FetchError::Denied(format!("{uri} has no host")))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let unreachable =
        |error: std::io::Error| FetchError::Unreachable(format!("connect to {host}:{port}: {error}"));
    let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| FetchError::Denied(format!("{host:?} is not a host name")))?;
    let connector = TlsConnector::from(Arc::new(config(tls)?));
    // A handshake that fails fails again: it is about certificates, or the other end speaks plain HTTP.
    let refused = |error: std::io::Error| FetchError::Denied(format!("TLS with {host}:{port}: {error}"));
    Ok(Box::new(connector.connect(name, stream).await.map_err(refused)?))
}

fn config(tls: &Tls) -> Result<ClientConfig, FetchError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Denied(format!("set up TLS: {error}")))?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(algorithms(&provider))))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let wrong = |error: String| FetchError::Denied(format!("use the client certificate: {error}"));
    match (&tls.cert_file, &tls.key_file) {
        (Some(certificate), Some(key)) => {
            let chain =
                CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let chain = chain.map_err(|error| wrong(error.to_string()))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(error.to_string()))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| wrong(error.to_string()))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// The machine's roots, and the registry's own.
fn roots(tls: &Tls) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    // Single roots that cannot be read are common on old machines; the rest serve.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &tls.ca_file {
        let wrong = |error: String| FetchError::Denied(format!("read {}: {error}", file.display()));
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
    }
    Ok(roots)
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

/// `insecure_skip_verify`: any certificate will do, but who shows it must have its key.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_refuses_to_be_connected_to_is_not_there() {
        // Nobody listens on port 1, which only root could.
        let uri = "http://127.0.0.1:1/v2".parse().unwrap();
        let refused = connect(&uri, &Tls::default()).await.err().unwrap();
        assert!(matches!(&refused, FetchError::Unreachable(why) if why.contains("refused")), "{refused:?}");
    }
}
