//! Which ports a pod offers to a service.
//!
//! Pure. A port by name is looked up in each pod anew, so that pods of one service may have it at different
//! numbers; a pod that does not have it has no such port.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A service's port, as found in a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Its name; empty where the service gives none.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Its number in the pod.
    pub number: i32,
    /// What is spoken there, where the service says so.
    pub application: Option<String>,
}

/// True for a service without address of its own.
pub fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()).is_some_and(|address| address == "None")
}

/// A service's ports that this pod has, sorted.
pub fn of(service: &Service, pod: &Pod) -> Vec<Port> {
    let wanted = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let mut ports: Vec<Port> = wanted.iter().filter_map(|port| found(port, pod)).collect();
    ports.sort();
    ports
}

fn found(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named(name, &protocol, pod)?,
    };
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        protocol,
        number,
        application: port.app_protocol.clone(),
    })
}

/// The number of a container port, also of init containers that run beside the others.
fn named(name: &str, protocol: &str, pod: &Pod) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let beside = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(beside)
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| {
            port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .map(|port| port.container_port)
}
