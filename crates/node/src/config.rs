//! What an agent is told when it is made.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::machine::Machine;

/// Settings of one node's agent.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Name of the node; also its host name label.
    pub node_name: String,
    /// Directory for everything the agent keeps about pods. It must not be shared with another agent.
    pub root_dir: PathBuf,
    /// Addresses of the cluster's DNS; empty leaves pods with the host's resolvers.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain: `cluster.local`.
    pub cluster_domain: String,
    /// Range that the node's pods get addresses from, as shown in `spec.podCIDR`.
    pub pod_cidr: String,
    /// The node's own address.
    pub node_ip: IpAddr,
    /// What the node has.
    pub capacity: Capacity,
    /// Labels besides the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Shown as `kubeletVersion`: `v1.37.0+ordinal-0.1.0`.
    pub version: String,
    /// Which machine this is.
    pub machine: Machine,
}

/// What a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of CPUs.
    pub cpu_milli: i64,
    /// Bytes of memory.
    pub memory_bytes: i64,
    /// Bytes of disk for images, logs and emptyDirs.
    pub ephemeral_storage_bytes: i64,
    /// Number of pods.
    pub pods: i64,
}

impl Capacity {
    /// Number of pods when nothing else is said, as upstream.
    pub const PODS_DEFAULT: i64 = 110;

    /// What this machine has; `root` is a directory on the disk that counts.
    pub fn of_this_machine(root: &std::path::Path, pods: i64) -> Capacity {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let memory = rustix::system::sysinfo();
        let memory_bytes =
            u64::try_from(memory.totalram).unwrap_or(0).saturating_mul(u64::from(memory.mem_unit.max(1)));
        let disk_bytes = rustix::fs::statvfs(root).map_or(0, |stat| stat.f_blocks * stat.f_frsize);
        Capacity {
            cpu_milli: i64::try_from(cpus).unwrap_or(1) * 1000,
            memory_bytes: i64::try_from(memory_bytes).unwrap_or(i64::MAX),
            ephemeral_storage_bytes: i64::try_from(disk_bytes).unwrap_or(i64::MAX),
            pods,
        }
    }

    /// Thousandths of each resource, by name, as admission compares them.
    pub fn milli(&self) -> BTreeMap<String, i64> {
        BTreeMap::from([
            ("cpu".to_owned(), self.cpu_milli),
            ("memory".to_owned(), self.memory_bytes.saturating_mul(1000)),
            ("ephemeral-storage".to_owned(), self.ephemeral_storage_bytes.saturating_mul(1000)),
            ("pods".to_owned(), self.pods.saturating_mul(1000)),
        ])
    }

    /// As the Node object shows it.
    pub fn quantities(&self) -> BTreeMap<String, String> {
        let cpu = if self.cpu_milli % 1000 == 0 {
            (self.cpu_milli / 1000).to_string()
        } else {
            format!("{}m", self.cpu_milli)
        };
        BTreeMap::from([
            ("cpu".to_owned(), cpu),
            ("memory".to_owned(), format!("{}Ki", self.memory_bytes / 1024)),
            ("ephemeral-storage".to_owned(), format!("{}Ki", self.ephemeral_storage_bytes / 1024)),
            ("pods".to_owned(), self.pods.to_string()),
        ])
    }
}

/// Name of a pod's log directory below `<root>/pods`.
pub fn log_directory_name(namespace: &str, name: &str, uid: &str) -> String {
    format!("{namespace}_{name}_{uid}")
}
