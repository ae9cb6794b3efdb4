//! What a node's network is made from, and the names it gives to things in the kernel.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;

/// One node's part of the cluster network. IPv4 only for now.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The cluster's id: 8 hexadecimal digits, in the name of everything that is made.
    pub cluster_id: String,
    /// Directory of this crate's own records and of the namespaces' files.
    pub state_dir: PathBuf,
    /// All pods of the cluster.
    pub pod_range: Ipv4Net,
    /// The pods of this node, inside the pod range; its first address is the gateway.
    pub node_range: Ipv4Net,
    /// All services of the cluster.
    pub service_range: Ipv4Net,
    /// Address of the cluster DNS, inside the service range; it is put on the bridge.
    pub dns_address: Ipv4Addr,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

impl NetworkConfig {
    /// The bridge's name, at most 15 bytes: `ord-` and the cluster's id.
    pub fn bridge_name(&self) -> String {
        format!("ord-{}", self.cluster_id)
    }

    /// Address of the bridge: the first of the node's range. The API server can be reached there by pods.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.node_range.network()) + 1)
    }

    /// The nftables table of services.
    pub fn services_table(&self) -> String {
        format!("ordinal_{}", self.cluster_id)
    }

    /// The nftables table of host ports.
    pub fn host_ports_table(&self) -> String {
        format!("ordinal_{}_ports", self.cluster_id)
    }

    pub(crate) fn namespaces_dir(&self) -> PathBuf {
        self.state_dir.join("namespaces")
    }

    pub(crate) fn records_dir(&self) -> PathBuf {
        self.state_dir.join("pods")
    }
}
