//! Requests and limits: quality-of-service class, cgroup figures and admission on the node. Pure.
//!
//! Read next: [`crate::view::Rejection`], which [`admit`] gives.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use model::quantity::Quantity;
use runtime::api::Resources;

use crate::view::{Rejection, is_sidecar};

/// Kernel's period for CPU quotas.
const CPU_PERIOD_US: u64 = 100_000;
/// Least quota the kernel takes.
const CPU_QUOTA_US_MIN: i64 = 1_000;
/// Weight of a container that requests nothing.
const CPU_SHARES_MIN: u64 = 2;
const CPU_SHARES_MAX: u64 = 262_144;

type Amounts = BTreeMap<String, ApiQuantity>;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let figure = |amounts: Option<&Amounts>, name: &str| {
        amounts.and_then(|amounts| milli(amounts, name)).filter(|amount| *amount > 0)
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in containers() {
        let resources = container.resources.as_ref();
        for name in ["cpu", "memory"] {
            let request = figure(resources.and_then(|resources| resources.requests.as_ref()), name);
            let limit = figure(resources.and_then(|resources| resources.limits.as_ref()), name);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The cgroup figures of one container.
pub fn of_container(container: &Container, spec: &PodSpec, node_memory_bytes: i64) -> Resources {
    let requirements = container.resources.clone().unwrap_or_default();
    let mut resources = figures(&requirements);
    resources.oom_score_adj = Some(oom_score(spec, &requirements, node_memory_bytes));
    resources
}

/// The figures over the whole pod: what its containers may use together.
pub fn of_pod(spec: &PodSpec) -> Resources {
    let sum = |name: &str, limits: bool| -> Option<i64> {
        let mut total = 0_i64;
        for container in spec.containers.iter().chain(sidecars(spec)) {
            let amount = amount(container, name, limits);
            if limits && amount.is_none() {
                return None;
            }
            total = total.saturating_add(amount.unwrap_or(0));
        }
        let init = spec.init_containers.iter().flatten().map(|container| amount(container, name, limits));
        for one in init {
            if limits && one.is_none() {
                return None;
            }
            total = total.max(one.unwrap_or(0));
        }
        Some(total)
    };
    let quota = sum("cpu", true).map(quota_us);
    Resources {
        cpu_shares: sum("cpu", false).map(shares),
        cpu_quota_us: quota,
        cpu_period_us: quota.map(|_| CPU_PERIOD_US),
        memory_limit_bytes: sum("memory", true).map(|milli| milli / 1000),
        pids_limit: None,
        oom_score_adj: None,
    }
}

fn sidecars(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().filter(|container| is_sidecar(container))
}

fn figures(requirements: &ResourceRequirements) -> Resources {
    let limit = |name: &str| requirements.limits.as_ref().and_then(|limits| milli(limits, name));
    let request = requirements.requests.as_ref().and_then(|requests| milli(requests, "cpu"));
    let quota = limit("cpu").filter(|limit| *limit > 0).map(quota_us);
    Resources {
        cpu_shares: Some(shares(request.or(limit("cpu")).unwrap_or(0))),
        cpu_quota_us: quota,
        cpu_period_us: quota.map(|_| CPU_PERIOD_US),
        memory_limit_bytes: limit("memory").filter(|limit| *limit > 0).map(|milli| milli / 1000),
        pids_limit: None,
        oom_score_adj: None,
    }
}

fn shares(milli_cpu: i64) -> u64 {
    let shares = u64::try_from(milli_cpu.max(0)).unwrap_or(0).saturating_mul(1024) / 1000;
    shares.clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

fn quota_us(milli_cpu: i64) -> i64 {
    let period = i64::try_from(CPU_PERIOD_US).expect("a small constant");
    (milli_cpu.saturating_mul(period) / 1000).max(CPU_QUOTA_US_MIN)
}

/// The out-of-memory killer takes those first that use most beyond what they asked for.
fn oom_score(spec: &PodSpec, requirements: &ResourceRequirements, node_memory_bytes: i64) -> i32 {
    match qos_class(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = requirements.requests.as_ref().and_then(|requests| milli(requests, "memory"));
            let bytes = request.unwrap_or(0) / 1000;
            let score = 1000 - bytes.saturating_mul(1000) / node_memory_bytes.max(1);
            i32::try_from(score.clamp(3, 999)).expect("clamped")
        }
    }
}

fn milli(amounts: &Amounts, name: &str) -> Option<i64> {
    let quantity = amounts.get(name)?;
    Quantity::parse(&quantity.0).ok().map(|quantity| quantity.milli_value())
}

/// Thousandths of a resource that a container asks for, or may use.
pub fn amount(container: &Container, name: &str, limit: bool) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    let amounts = if limit { &resources.limits } else { &resources.requests };
    milli(amounts.as_ref()?, name)
}

/// Thousandths of a resource that a pod asks for.
pub fn request_of_pod(spec: &PodSpec, name: &str) -> i64 {
    let sum = |containers: &mut dyn Iterator<Item = &Container>| {
        containers.map(|container| amount(container, name, false).unwrap_or(0)).sum::<i64>()
    };
    let running = sum(&mut spec.containers.iter()) + sum(&mut sidecars(spec));
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| amount(container, name, false).unwrap_or(0))
        .max()
        .unwrap_or(0);
    let overhead = spec.overhead.as_ref().and_then(|overhead| milli(overhead, name)).unwrap_or(0);
    running.max(init) + overhead
}

/// Ports of the host that a pod wants, as `TCP/8080`.
pub fn host_ports(spec: &PodSpec) -> BTreeSet<(String, i32)> {
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port > 0)?;
            Some((port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), host_port))
        })
        .collect()
}

/// What the pods that the node has taken use together.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    requests: BTreeMap<String, i64>,
    pods: i64,
    ports: BTreeMap<(String, i32), usize>,
}

impl Usage {
    /// A pod was taken.
    pub fn add(&mut self, spec: &PodSpec, names: &BTreeMap<String, i64>) {
        self.pods += 1;
        for name in names.keys() {
            *self.requests.entry(name.clone()).or_default() += request_of_pod(spec, name);
        }
        for port in host_ports(spec) {
            *self.ports.entry(port).or_default() += 1;
        }
    }

    /// A pod that was taken is down.
    pub fn remove(&mut self, spec: &PodSpec, names: &BTreeMap<String, i64>) {
        self.pods -= 1;
        for name in names.keys() {
            *self.requests.entry(name.clone()).or_default() -= request_of_pod(spec, name);
        }
        for port in host_ports(spec) {
            if let Some(count) = self.ports.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(&port);
                }
            }
        }
    }
}

/// Whether the node takes `pod` besides those it has taken before.
pub fn admit(
    pod: &Pod,
    usage: &Usage,
    allocatable: &BTreeMap<String, i64>,
    labels: &BTreeMap<String, String>,
) -> Result<(), Rejection> {
    let reject = |reason: &str, message: String| Err(Rejection { reason: reason.to_owned(), message });
    let Some(spec) = &pod.spec else {
        return Ok(());
    };
    if host_ports(spec).iter().any(|port| usage.ports.contains_key(port)) {
        let message =
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return reject("NodePorts", message.to_owned());
    }
    // Only labels that the agent gives itself: those that others give may not have been seen here yet.
    let mut selector = spec.node_selector.iter().flatten();
    if selector.any(|(key, value)| labels.get(key).is_some_and(|own| own != value)) {
        let message =
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned();
        return reject("NodeAffinity", message);
    }
    for (name, capacity) in allocatable {
        let (requested, used) = if name == "pods" {
            (1000, usage.pods.saturating_mul(1000))
        } else {
            (request_of_pod(spec, name), usage.requests.get(name).copied().unwrap_or(0))
        };
        if requested > 0 && used + requested > *capacity {
            // Upstream prints CPU in thousandths and everything else whole.
            let unit = if name == "cpu" { 1 } else { 1000 };
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
                requested / unit,
                used / unit,
                capacity / unit
            );
            return reject(&format!("OutOf{name}"), message);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, host_port: Option<i32>) -> Pod {
        let ports: Vec<_> =
            host_port.iter().map(|port| json!({"containerPort": 80, "hostPort": port})).collect();
        serde_json::from_value(json!({"spec": {"containers": [
            {"name": "c", "ports": ports, "resources": {"requests": {"cpu": cpu}}},
        ]}}))
        .expect("a pod")
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_kubelets_reason() {
        let allocatable = BTreeMap::from([("cpu".to_owned(), 2000), ("pods".to_owned(), 3000)]);
        let mut usage = Usage::default();
        let first = pod("1900m", Some(80));
        usage.add(first.spec.as_ref().expect("spec"), &allocatable);
        let refused =
            admit(&pod("200m", None), &usage, &allocatable, &BTreeMap::new()).expect_err("too much");
        assert_eq!(refused.reason, "OutOfcpu");
        assert_eq!(
            refused.message,
            "Node didn't have enough resource: cpu, requested: 200, used: 1900, capacity: 2000"
        );
        let refused =
            admit(&pod("1m", Some(80)), &usage, &allocatable, &BTreeMap::new()).expect_err("port in use");
        assert_eq!(refused.reason, "NodePorts");
        usage.remove(first.spec.as_ref().expect("spec"), &allocatable);
        admit(&pod("200m", Some(80)), &usage, &allocatable, &BTreeMap::new()).expect("fits now");
    }

    #[test]
    fn classes_follow_requests_and_limits() {
        let class = |resources: serde_json::Value| {
            let spec: PodSpec =
                serde_json::from_value(json!({"containers": [{"name": "c", "resources": resources}]}))
                    .expect("a spec");
            qos_class(&spec)
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
        assert_eq!(
            class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}})),
            "Burstable"
        );
    }
}
