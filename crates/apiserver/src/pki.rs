//! Certificates: an authority, what it serves with and what its administrator calls with.
//!
//! Pure: text in, text out; the caller keeps the files. Private keys are in what these functions return and
//! must never be logged.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Years an authority is valid.
const AUTHORITY_YEARS: i16 = 10;
/// Years a certificate is valid.
const CERTIFICATE_YEARS: i16 = 1;
/// A certificate is renewed when less than this is left.
const RENEW_BEFORE_DAYS: i64 = 30;

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Making or reading one.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    /// Reading PEM.
    #[error("read a certificate or key")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The TLS library refuses it.
    #[error("use a certificate for TLS")]
    Tls(#[from] rustls::Error),
    /// The verifier of client certificates refuses the authority.
    #[error("verify client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A new authority.
pub fn authority(now: Timestamp) -> Result<Pair, PkiError> {
    let mut params = params("ordinal-ca", &[], now, AUTHORITY_YEARS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// What the API server shows: valid for its own names, `addresses` and `names`.
pub fn serving(
    authority: &Pair,
    addresses: &[IpAddr],
    names: &[String],
    now: Timestamp,
) -> Result<Pair, PkiError> {
    let mut params = params("kube-apiserver", &[], now, CERTIFICATE_YEARS);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let own = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    for name in own.into_iter().map(str::to_owned).chain(names.iter().cloned()) {
        params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
    }
    let loopback = [IpAddr::from([127, 0, 0, 1])];
    for address in loopback.iter().chain(addresses.iter().filter(|one| **one != loopback[0])) {
        params.subject_alt_names.push(SanType::IpAddress(*address));
    }
    signed(authority, &params)
}

/// What a client shows: `user`, in `groups`. The administrator is in `system:masters`.
pub fn client(authority: &Pair, user: &str, groups: &[&str], now: Timestamp) -> Result<Pair, PkiError> {
    let mut params = params(user, groups, now, CERTIFICATE_YEARS);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    signed(authority, &params)
}

/// The administrator's certificate.
pub fn admin(authority: &Pair, now: Timestamp) -> Result<Pair, PkiError> {
    client(authority, "kubernetes-admin", &[crate::authz::MASTERS], now)
}

/// True when a certificate is unreadable, has ended or ends soon, and must be made anew.
pub fn needs_renewal(certificate_pem: &str, now: Timestamp) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return true };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else { return true };
    let until = certificate.validity().not_after.timestamp();
    until - now.as_second() < RENEW_BEFORE_DAYS * 86_400
}

/// TLS for the API server: shows `serving`, and asks clients for a certificate of `authority` without
/// insisting on one (health is answered to everybody).
pub fn server_config(authority_pem: &str, serving: &Pair) -> Result<Arc<rustls::ServerConfig>, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let chain =
        CertificateDer::pem_slice_iter(serving.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(serving.key.as_bytes())?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn params(name: &str, groups: &[&str], now: Timestamp, years: i16) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    let date = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |year: i16| {
        let month = u8::try_from(date.month()).unwrap_or(1);
        // Day 28 is in every month of every year.
        let day = u8::try_from(date.day()).unwrap_or(1).min(28);
        date_time_ymd(i32::from(year), month, day)
    };
    // A day early, for clocks that differ.
    params.not_before = day(date.year()) - std::time::Duration::from_secs(86_400);
    params.not_after = day(date.year() + years);
    params
}

fn signed(authority: &Pair, params: &CertificateParams) -> Result<Pair, PkiError> {
    let mut params = params.clone();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrator_is_who_the_certificate_says() {
        let now: Timestamp = "2026-03-01T00:00:00Z".parse().expect("a time");
        let authority = authority(now).expect("an authority");
        let admin = admin(&authority, now).expect("a certificate");
        let der = CertificateDer::from_pem_slice(admin.certificate.as_bytes()).expect("PEM");
        let user = crate::authn::user_of(&der).expect("names a user");
        assert_eq!(user.name, "kubernetes-admin");
        assert!(user.groups.contains(&"system:masters".to_owned()));
        assert!(!needs_renewal(&admin.certificate, now));
        let later = "2027-02-20T00:00:00Z".parse().expect("a time");
        assert!(needs_renewal(&admin.certificate, later));
    }
}
