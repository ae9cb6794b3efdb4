//! What a pod asks of a node: resources and ports.
//!
//! A pod's request is that of its containers together, or of its largest init container where that is more;
//! sidecars (init containers that restart always) count with both (KEP-753), and the pod's overhead on top.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use model::quantity::Quantity;

/// Amounts by resource name: thousandths of a core for `cpu`, whole units for everything else.
pub type Amounts = BTreeMap<String, i64>;

/// A port of the host: number, protocol, address (`0.0.0.0` for any).
pub type HostPort = (i32, String, String);

/// What a pod takes of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Resources.
    pub amounts: Amounts,
    /// Ports of the host.
    pub host_ports: BTreeSet<HostPort>,
}

impl Request {
    /// What this pod takes.
    pub fn of(pod: &Pod) -> Request {
        let Some(spec) = &pod.spec else { return Request::default() };
        Request { amounts: amounts(spec), host_ports: host_ports(spec) }
    }
}

/// True when two host ports cannot be on one node.
pub fn conflict(one: &HostPort, other: &HostPort) -> bool {
    let any = |address: &str| address == "0.0.0.0" || address == "::";
    one.0 == other.0 && one.1 == other.1 && (one.2 == other.2 || any(&one.2) || any(&other.2))
}

/// Amounts of an API resource list; one that cannot be read counts as nothing (validation refuses it).
pub fn parse(list: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    let amount = |name: &str, quantity: &ApiQuantity| {
        let quantity = Quantity::of(quantity).unwrap_or(Quantity::ZERO);
        if name == "cpu" { quantity.milli_value() } else { quantity.value() }
    };
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

fn amounts(spec: &PodSpec) -> Amounts {
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &of_container(container));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let own = of_container(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            at_least(&mut starting, &sidecars);
        } else {
            let mut with_sidecars = sidecars.clone();
            add(&mut with_sidecars, &own);
            at_least(&mut starting, &with_sidecars);
        }
    }
    add(&mut total, &sidecars);
    at_least(&mut total, &starting);
    add(&mut total, &parse(spec.overhead.as_ref()));
    total
}

fn of_container(container: &Container) -> Amounts {
    parse(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

fn at_least(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let sum = total.entry(name.clone()).or_default();
        *sum = (*sum).max(*amount);
    }
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let address = port.host_ip.clone().filter(|address| !address.is_empty());
            Some((number, protocol, address.unwrap_or_else(|| "0.0.0.0".to_owned())))
        })
        .collect()
}
