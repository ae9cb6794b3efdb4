//! What the node agent asks of a network, in the shape of CNI's ADD, DEL and LIST.
//!
//! All calls are idempotent. An address belongs to one pod until its detach has returned.

use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A pod's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The pod's uid.
    pub pod_uid: String,
    /// Path of its network namespace, to be joined by its containers.
    pub namespace_path: PathBuf,
    /// Its addresses, the first one preferred.
    pub addresses: Vec<IpAddr>,
}

/// One port of the host that leads to a pod (`hostPort`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Port on the host.
    pub host_port: u16,
    /// Port in the pod.
    pub container_port: u16,
    /// UDP instead of TCP.
    pub udp: bool,
}

/// Why the network could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetworkError {
    /// The node's range has no free address.
    #[error("no free address in {range}")]
    NoAddress {
        /// The range.
        range: String,
    },
    /// The kernel or a program would not.
    #[error("{operation}: {reason}")]
    Failed {
        /// What was tried.
        operation: String,
        /// What came back.
        reason: String,
    },
}

/// Gives pods a network namespace and an address.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Makes the pod's namespace, interface and address, or finds those it has.
    async fn attach(&self, pod_uid: &str, host_ports: &[HostPort]) -> Result<Attachment, NetworkError>;
    /// Removes them.
    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError>;
    /// Every pod that has any, also from before a restart.
    async fn list(&self) -> Result<Vec<Attachment>, NetworkError>;
}
