//! Registries: where they are, how to be let in, and getting documents and layers from them.
//!
//! A small client of our own over hyper and rustls. Credentials go only to the host they are meant for:
//! not to a mirror, not along a redirect, not over plain HTTP to another machine.
//!
//! Read next: [`config`] (`registries.yaml`), [`client`] (requests), [`auth`] (tokens), [`connect`] (TLS).

mod auth;
mod client;
mod config;
mod connect;

pub(super) use client::Client;
pub(super) use config::Registries;

use super::refused;
use crate::api::ImageError;

/// Why one endpoint did not give what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum FetchError {
    /// Not there, or not for us: asking again will not help.
    #[error("{0}")]
    Denied(String),
    /// The network or the server failed; asking again may help.
    #[error("{0}")]
    Broken(String),
    /// Nobody is there: the name has no address, or the address lets nobody connect. Soon is no better than
    /// now; who wants the image tries again later.
    #[error("{0}")]
    Unreachable(String),
    /// What came is not what was asked for, or the disk would not: no other endpoint is asked.
    #[error("{0}")]
    Final(ImageError),
}

impl From<ImageError> for FetchError {
    fn from(error: ImageError) -> Self {
        Self::Final(error)
    }
}

impl FetchError {
    fn too_large(what: &str, bytes_max: u64) -> Self {
        Self::Final(refused(format!("{what} is larger than {bytes_max} bytes")))
    }
}

/// Whether a host is this machine itself, where plain HTTP harms nobody.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
