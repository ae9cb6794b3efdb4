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
use crate::machine::Pressure;

/// How often the lease is renewed.
const RENEW_SECONDS: u64 = 10;
/// How long a lease that is not renewed says that the node is alive, as upstream.
const LEASE_SECONDS: i32 = 40;
/// Pause before a renewal that failed is tried again: four failures in a row would otherwise make a node that
/// is well a silent one.
const RENEW_RETRY_SECONDS: u64 = 1;
/// Pause between two tries to register.
const RETRY: Duration = Duration::from_millis(500);
/// A status that says nothing new is written this often.
const STATUS_SECONDS: i64 = 300;
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Registers the node and keeps its lease and status fresh, until dropped.
pub(crate) async fn run(context: Arc<Context>) {
    while let Err(status) = register(&context).await {
        tracing::debug!("the node is not registered yet: {status}");
        tokio::time::sleep(RETRY).await;
    }
    let mut said: Option<(NodeStatus, Timestamp)> = None;
    loop {
        let mut pause = Duration::from_secs(RENEW_SECONDS);
        if let Err(status) = renew(&context).await {
            tracing::warn!("the node's lease was not renewed: {status}");
            pause = Duration::from_secs(RENEW_RETRY_SECONDS);
        }
        tell_status(&context, &mut said).await;
        tokio::time::sleep(pause).await;
    }
}

/// Writes the node's status if it has news, or if somebody has said otherwise meanwhile: of a node that was
/// silent for a while it is said that nobody knows it.
async fn tell_status(context: &Context, said: &mut Option<(NodeStatus, Timestamp)>) {
    let stored = context.client.get::<Node>("", &context.config.node_name).await;
    let now = context.clock.now();
    let previous = said.as_ref().map(|(status, _)| status);
    let shown = stored.as_ref().ok().and_then(|node| node.status.as_ref());
    let status = node_status(context, shown.or(previous), now);
    let is_contradicted = shown.is_some_and(|shown| !agrees(shown, &status));
    let is_due = said.as_ref().is_none_or(|(before, at)| {
        now.duration_since(*at) >= SignedDuration::from_secs(STATUS_SECONDS) || !same(before, &status)
    });
    if !is_due && !is_contradicted {
        return;
    }
    match write_status(context, &status).await {
        Ok(()) => *said = Some((status, now)),
        Err(error) => {
            tracing::warn!("the node's status was not written: {error}");
            if error.is_not_found() {
                let _ = register(context).await;
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
    let Pressure { memory, disk } = config.machine.pressure(&config.root_dir);
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
    let identity = context.config.machine.identity();
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: identity.boot_id,
        container_runtime_version: context.runtime.version(),
        kernel_version: identity.kernel_version,
        kube_proxy_version: String::new(),
        kubelet_version: context.config.version.clone(),
        machine_id: identity.machine_id.clone(),
        operating_system: "linux".to_owned(),
        os_image: identity.os_image,
        system_uuid: identity.machine_id,
        ..NodeSystemInfo::default()
    }
}

/// True when each of our conditions stands as we say it.
fn agrees(shown: &NodeStatus, ours: &NodeStatus) -> bool {
    let shown = shown.conditions.as_deref().unwrap_or_default();
    ours.conditions.iter().flatten().all(|condition| {
        shown.iter().any(|other| other.type_ == condition.type_ && other.status == condition.status)
    })
}

/// Equal but for the times.
fn same(left: &NodeStatus, right: &NodeStatus) -> bool {
    let without_beat = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
            condition.last_transition_time = None;
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
