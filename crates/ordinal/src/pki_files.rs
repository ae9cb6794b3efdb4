//! The cluster's certificates as files: made when missing, renewed when they end.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use apiserver::pki::{self, Pair};
use jiff::Timestamp;

use crate::data_dir::{DataDir, write_private};

/// Everything that TLS needs.
pub(crate) struct Certificates {
    pub(crate) authority: Pair,
    pub(crate) serving: Pair,
    pub(crate) admin: Pair,
}

/// Reads the certificates, and makes those that are missing, have ended, or name other addresses.
pub(crate) fn ensure(data_dir: &DataDir, addresses: &[IpAddr], now: Timestamp) -> Result<Certificates> {
    fs::create_dir_all(data_dir.path("pki")).context("make the directory of certificates")?;
    let authority = keep(data_dir, "ca", now, || pki::authority(now))?;
    let names = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join("\n");
    let served = data_dir.path("pki/server.addresses");
    if fs::read_to_string(&served).ok().as_deref() != Some(names.as_str()) {
        remove(data_dir, "server")?;
    }
    let serving = keep(data_dir, "server", now, || pki::serving(&authority, addresses, &[], now))?;
    write_private(&served, names.as_bytes())?;
    let admin = keep(data_dir, "admin", now, || pki::admin(&authority, now))?;
    Ok(Certificates { authority, serving, admin })
}

fn keep(
    data_dir: &DataDir,
    name: &str,
    now: Timestamp,
    make: impl FnOnce() -> Result<Pair, pki::PkiError>,
) -> Result<Pair> {
    let certificate = data_dir.path(&format!("pki/{name}.crt"));
    let key = data_dir.path(&format!("pki/{name}.key"));
    if let (Ok(certificate), Ok(key)) = (fs::read_to_string(&certificate), fs::read_to_string(&key))
        && !pki::needs_renewal(&certificate, now)
    {
        return Ok(Pair { certificate, key });
    }
    let pair = make().with_context(|| format!("make the certificate {name}"))?;
    write_private(&key, pair.key.as_bytes())?;
    write_private(&certificate, pair.certificate.as_bytes())?;
    Ok(pair)
}

fn remove(data_dir: &DataDir, name: &str) -> Result<()> {
    match fs::remove_file(data_dir.path(&format!("pki/{name}.crt"))) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("remove an old certificate")
        }
        _ => Ok(()),
    }
}
