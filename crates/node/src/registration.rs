//! The node's own objects: the Node with its capacity, addresses and conditions, and the Lease that says
//! that the agent is alive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::PatchKind;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use model::status::Status;
use serde_json::json;

use crate::config::AgentConfig;
use crate::execute::Context;

/// How often the lease is renewed.
const RENEW_SECONDS: u64 = 10;
/// How long a lease that is not renewed says that the node is alive, as upstream.
const LEASE_SECONDS: i32 = 40;
/// Pause between two tries to register.
const RETRY: Duration = Duration::from_millis(500);
/// A status that says nothing new is written this often.
const STATUS_SECONDS: i64 = 300;
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Below this share of free disk (in thousandths) the node says so; upstream evicts at the same.
const DISK_FREE_MILLI_MIN: u64 = 100;
/// Below this much free memory the node says so.
const MEMORY_FREE_BYTES_MIN: u64 = 100 << 20;

/// Registers the node and keeps its lease and status fresh, until dropped.
pub(crate) async fn run(context: Arc<Context>) {
    while let Err(status) = register(&context).await {
        tracing::debug!("the node is not registered yet: {status}");
        tokio::time::sleep(RETRY).await;
    }
    let mut said: Option<(NodeStatus, Timestamp)> = None;
    let mut interval = tokio::time::interval(Duration::from_secs(RENEW_SECONDS));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(status) = renew(&context).await {
            tracing::warn!("the node's lease was not renewed: {status}");
        }
        let now = context.clock.now();
        let previous = said.as_ref().map(|(status, _)| status);
        let status = node_status(&context, previous, now);
        let due = said.as_ref().is_none_or(|(before, at)| {
            now.duration_since(*at) >= SignedDuration::from_secs(STATUS_SECONDS) || !same(before, &status)
        });
        if !due {
            continue;
        }
        match write_status(&context, &status).await {
            Ok(()) => said = Some((status, now)),
            Err(error) => {
                tracing::warn!("the node's status was not written: {error}");
                if error.is_not_found() {
                    let _ = register(&context).await;
                }
            }
        }
    }
}

/// The labels of this node.
pub(crate) fn labels(config: &AgentConfig) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

async fn register(context: &Context) -> Result<(), Status> {
    let config = &context.config;
    let mut node = Node {
        spec: Some(NodeSpec {
            pod_cidr: Some(config.pod_cidr.clone()),
            pod_cidrs: Some(vec![config.pod_cidr.clone()]),
            ..NodeSpec::default()
        }),
        status: Some(node_status(context, None, context.clock.now())),
        ..Node::default()
    };
    node.metadata.name = Some(config.node_name.clone());
    node.metadata.labels = Some(labels(config));
    match context.client.create(&node).await {
        Ok(_) => Ok(()),
        Err(status) if status.is_already_exists() => {
            let patch = json!({ "metadata": { "labels": labels(config) } });
            context.client.patch::<Node>("", &config.node_name, "", PatchKind::Merge, patch).await.map(|_| ())
        }
        Err(status) => Err(status),
    }
}

async fn write_status(context: &Context, status: &NodeStatus) -> Result<(), Status> {
    let patch = json!({ "status": status });
    let name = &context.config.node_name;
    context.client.patch::<Node>("", name, "status", PatchKind::StrategicMerge, patch).await.map(|_| ())
}

async fn renew(context: &Context) -> Result<(), Status> {
    let name = &context.config.node_name;
    let now = MicroTime(context.clock.now());
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    let patch = json!({ "spec": spec });
    let renewed = context.client.patch::<Lease>(LEASE_NAMESPACE, name, "", PatchKind::Merge, patch).await;
    match renewed {
        Ok(_) => Ok(()),
        Err(status) if status.is_not_found() => {
            let mut lease = Lease { spec: Some(spec), ..Lease::default() };
            lease.metadata.name = Some(name.clone());
            lease.metadata.namespace = Some(LEASE_NAMESPACE.to_owned());
            context.client.create(&lease).await.map(|_| ())
        }
        Err(status) => Err(status),
    }
}

fn node_status(context: &Context, previous: Option<&NodeStatus>, now: Timestamp) -> NodeStatus {
    let config = &context.config;
    let quantities: BTreeMap<String, Quantity> =
        config.capacity.quantities().into_iter().map(|(name, amount)| (name, Quantity(amount))).collect();
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", config.node_ip.to_string()),
            address("Hostname", config.node_name.clone()),
        ]),
        allocatable: Some(quantities.clone()),
        capacity: Some(quantities),
        conditions: Some(conditions(config, previous, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints::default()),
        node_info: Some(node_info(context)),
        ..NodeStatus::default()
    }
}

fn conditions(config: &AgentConfig, previous: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let memory = available_memory_bytes().is_some_and(|free| free < MEMORY_FREE_BYTES_MIN);
    let disk = rustix::fs::statvfs(&config.root_dir).is_ok_and(|stat| {
        stat.f_bavail.saturating_mul(1000) < stat.f_blocks.saturating_mul(DISK_FREE_MILLI_MIN)
    });
    let pressure = |kind: &'static str, is_high: bool, what: &str| {
        let (word, verb) = if is_high { ("Has", "has") } else { ("HasNo", "has no") };
        let word = match (kind, is_high) {
            ("MemoryPressure", true) => "KubeletHasInsufficientMemory".to_owned(),
            ("MemoryPressure", false) => "KubeletHasSufficientMemory".to_owned(),
            ("PIDPressure", false) => "KubeletHasSufficientPID".to_owned(),
            _ => format!("Kubelet{word}{what}"),
        };
        let message = match (kind, is_high) {
            ("MemoryPressure", true) => "kubelet has insufficient memory available".to_owned(),
            ("MemoryPressure", false) => "kubelet has sufficient memory available".to_owned(),
            ("PIDPressure", false) => "kubelet has sufficient PID available".to_owned(),
            _ => format!("kubelet {verb} disk pressure"),
        };
        (kind, is_high, word, message)
    };
    let ready = ("Ready", true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned());
    let all = [
        pressure("MemoryPressure", memory, "MemoryPressure"),
        pressure("DiskPressure", disk, "DiskPressure"),
        pressure("PIDPressure", false, "PIDPressure"),
        ready,
    ];
    all.into_iter()
        .map(|(kind, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let since = previous
                .and_then(|previous| previous.conditions.as_ref())
                .into_iter()
                .flatten()
                .find(|condition| condition.type_ == kind && condition.status == status)
                .and_then(|condition| condition.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: Some(since.unwrap_or(Time(now))),
            }
        })
        .collect()
}

fn node_info(context: &Context) -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let uname = rustix::system::uname();
    let os_image = std::fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned()))
        .unwrap_or_else(|| "Linux".to_owned());
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: context.runtime.version(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kube_proxy_version: String::new(),
        kubelet_version: context.config.version.clone(),
        machine_id: read("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image,
        system_uuid: read("/etc/machine-id"),
        ..NodeSystemInfo::default()
    }
}

fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Equal but for the heartbeat.
fn same(left: &NodeStatus, right: &NodeStatus) -> bool {
    let without_beat = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    without_beat(left) == without_beat(right)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
