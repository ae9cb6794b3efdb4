//! The pod network of one node: a bridge, a pair of interfaces a pod.
//!
//! Everything can be made again: after a crash at any point, calling again finishes the work.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::config::NetworkConfig;
use crate::host_ports;
use crate::ipam::{Ipam, Record};
use crate::link;
use crate::namespace;
use crate::nft;
use crate::pod_network::{Attachment, HostPort, NetworkError, PodNetwork};

/// Gives pods a place on the node's bridge.
pub struct BridgeNetwork {
    config: Arc<NetworkConfig>,
    ipam: Mutex<Ipam>,
}

impl BridgeNetwork {
    /// Makes the bridge and its routes, or finds them.
    pub async fn open(config: NetworkConfig) -> Result<BridgeNetwork, NetworkError> {
        let config = Arc::new(config);
        let prepared = Arc::clone(&config);
        let ipam = blocking("prepare the pod network", move || {
            fs::create_dir_all(prepared.namespaces_dir())?;
            let ipam = Ipam::open(prepared.node_range, &prepared.records_dir())?;
            prepare_host(&prepared)?;
            Ok(ipam)
        })
        .await?;
        let network = BridgeNetwork { config, ipam: Mutex::new(ipam) };
        network.write_host_ports(&*network.ipam.lock().await).await?;
        Ok(network)
    }

    async fn write_host_ports(&self, ipam: &Ipam) -> Result<(), NetworkError> {
        let script = host_ports::script(&self.config.host_ports_table(), ipam.records());
        nft::run(&script).await.map_err(|error| failed("write the host ports", error))
    }

    fn attachment(&self, record: &Record) -> Attachment {
        Attachment {
            pod_uid: record.pod_uid.clone(),
            namespace_path: self.namespace_path(&record.pod_uid),
            addresses: vec![IpAddr::V4(record.address)],
        }
    }

    fn namespace_path(&self, pod_uid: &str) -> PathBuf {
        self.config.namespaces_dir().join(pod_uid)
    }
}

#[async_trait]
impl PodNetwork for BridgeNetwork {
    async fn attach(&self, pod_uid: &str, host_ports: &[HostPort]) -> Result<Attachment, NetworkError> {
        check_uid(pod_uid)?;
        let record = {
            let mut ipam = self.ipam.lock().await;
            let known = ipam.get(pod_uid).is_some();
            let record = ipam
                .allocate(pod_uid, host_ports)
                .map_err(|error| failed("record the pod's address", error))?
                .ok_or_else(|| NetworkError::NoAddress { range: self.config.node_range.to_string() })?;
            if !known && !record.host_ports.is_empty() {
                self.write_host_ports(&ipam).await?;
            }
            record
        };
        let attachment = self.attachment(&record);
        let config = Arc::clone(&self.config);
        let path = attachment.namespace_path.clone();
        blocking("attach the pod", move || attach(&config, &record, &path)).await?;
        Ok(attachment)
    }

    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        check_uid(pod_uid)?;
        let path = self.namespace_path(pod_uid);
        let host = host_interface(&self.config, pod_uid);
        blocking("detach the pod", move || {
            // Removing one end removes the other at once; the namespace alone would be cleaned up by the
            // kernel some time later, while the address is used again.
            link::with_handle(async |handle| link::remove(&handle, &host).await)?;
            namespace::remove(&path)
        })
        .await?;
        let mut ipam = self.ipam.lock().await;
        let had_ports = ipam.get(pod_uid).is_some_and(|record| !record.host_ports.is_empty());
        ipam.release(pod_uid).map_err(|error| failed("free the pod's address", error))?;
        if had_ports {
            self.write_host_ports(&ipam).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Attachment>, NetworkError> {
        let ipam = self.ipam.lock().await;
        Ok(ipam.records().map(|record| self.attachment(record)).collect())
    }
}

fn prepare_host(config: &NetworkConfig) -> io::Result<()> {
    // Pods reach each other, services and the world through this host.
    write_setting("/proc/sys/net/ipv4/ip_forward", "1")?;
    let addresses = [(config.gateway(), config.node_range.prefix_len()), (config.dns_address, 32)];
    link::with_handle(async |handle| {
        let name = config.bridge_name();
        let mac = bridge_mac(config);
        let bridge = link::ensure_bridge(&handle, &name, mac, config.mtu, &addresses).await?;
        link::ensure_blackhole(&handle, config.pod_range).await?;
        link::ensure_route(&handle, config.service_range, bridge, config.gateway()).await
    })?;
    // Two pods on one bridge are routed back out of the interface they came in by; telling them about a
    // shorter way that their /32 addresses do not allow would be noise.
    let redirects = format!("/proc/sys/net/ipv4/conf/{}/send_redirects", config.bridge_name());
    write_setting(&redirects, "0")
}

fn attach(config: &NetworkConfig, record: &Record, path: &std::path::Path) -> io::Result<()> {
    namespace::create(path)?;
    let file = fs::File::open(path)?;
    let host = host_interface(config, &record.pod_uid);
    link::with_handle(async |handle| {
        let bridge = link::required(&handle, &config.bridge_name()).await?;
        link::ensure_veth(&handle, &host, bridge, file.as_fd(), config.mtu).await
    })?;
    let (address, gateway) = (record.address, config.gateway());
    namespace::inside(path, move || {
        link::with_handle(async |handle| link::ensure_pod_side(&handle, address, gateway).await)?;
        // The host may still tell a pod of a shorter way to another on the same bridge. A pod that took it
        // would answer past the host, and what comes by a service would not be translated back.
        for interface in ["all", "eth0"] {
            write_setting(&format!("/proc/sys/net/ipv4/conf/{interface}/accept_redirects"), "0")?;
        }
        Ok(())
    })
}

/// The host's end of a pod's pair: `ov` and 12 digits that the pod's uid and the cluster's id give.
fn host_interface(config: &NetworkConfig, pod_uid: &str) -> String {
    let mut hash = Fnv64::default();
    hash.write(config.cluster_id.as_bytes());
    hash.write(pod_uid.as_bytes());
    format!("ov{:012x}", hash.0 & 0xffff_ffff_ffff)
}

fn bridge_mac(config: &NetworkConfig) -> [u8; 6] {
    let mut hash = Fnv64::default();
    hash.write(config.cluster_id.as_bytes());
    let [a, b, c, d, e, ..] = hash.0.to_be_bytes();
    // Locally administered, for one station.
    [0x02, a, b, c, d, e]
}

/// FNV-1a, 64 bits: names only, no defence against anybody.
struct Fnv64(u64);

impl Default for Fnv64 {
    fn default() -> Fnv64 {
        Fnv64(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv64 {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A uid becomes a file name: it must be one.
fn check_uid(pod_uid: &str) -> Result<(), NetworkError> {
    let valid = !pod_uid.is_empty()
        && pod_uid.len() <= 128
        && pod_uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if valid { Ok(()) } else { Err(failed("check the pod's uid", format!("{pod_uid:?} is no uid"))) }
}

fn write_setting(path: &str, value: &str) -> io::Result<()> {
    if fs::read_to_string(path)?.trim() == value {
        return Ok(());
    }
    fs::write(path, value).map_err(|error| io::Error::new(error.kind(), format!("write {path}: {error}")))
}

fn failed(operation: &str, error: impl std::fmt::Display) -> NetworkError {
    NetworkError::Failed { operation: operation.to_owned(), reason: error.to_string() }
}

async fn blocking<T: Send + 'static>(
    operation: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NetworkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| failed(operation, error)),
        Err(error) => Err(failed(operation, error)),
    }
}
