//! The downward API: what a pod may ask about itself. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{Container, Pod};
use model::quantity::Quantity;

use crate::env::{ConfigError, Facts};
use crate::resources;

/// A field by its path, as `fieldRef` names it.
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, ConfigError> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |field: Option<&String>| Ok(field.cloned().unwrap_or_default());
    if let Some(key) = subscript(path, "metadata.labels") {
        return text(metadata.labels.as_ref().and_then(|labels| labels.get(key)));
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return text(metadata.annotations.as_ref().and_then(|annotations| annotations.get(key)));
    }
    let ips = || facts.pod_ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => Ok(lines(metadata.labels.as_ref())),
        "metadata.annotations" => Ok(lines(metadata.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => Ok(facts.host_ip.clone()),
        "status.podIP" => Ok(ips().into_iter().next().unwrap_or_default()),
        "status.podIPs" => Ok(ips().join(",")),
        _ => Err(ConfigError(format!("unsupported fieldPath: {path}"))),
    }
}

/// A container by name, init containers too.
pub fn container<'pod>(pod: &'pod Pod, name: &str) -> Result<&'pod Container, ConfigError> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
        .find(|container| container.name == name)
        .ok_or_else(|| ConfigError(format!("container {name} not found")))
}

/// A request or limit, divided and rounded up, as `resourceFieldRef` asks.
pub fn resource(
    container: &Container,
    resource: &str,
    divisor: Option<&str>,
    facts: &Facts,
) -> Result<String, ConfigError> {
    let (limit, name) = match resource.split_once('.') {
        Some(("limits", name)) => (true, name),
        Some(("requests", name)) => (false, name),
        _ => {
            return Err(ConfigError(format!("unsupported container resource : {resource}")));
        }
    };
    let allocatable = match name {
        "cpu" => facts.allocatable_cpu_milli,
        "memory" => facts.allocatable_memory_bytes.saturating_mul(1000),
        _ => 0,
    };
    let asked = resources::amount(container, name, limit).filter(|amount| *amount > 0);
    let milli = asked.unwrap_or(if limit { allocatable } else { 0 });
    let divisor = match divisor {
        None | Some("" | "0") => 1000,
        Some(text) => {
            Quantity::parse(text).map_err(|error| ConfigError(error.to_string()))?.milli_value().max(1)
        }
    };
    let rounded_up = milli / divisor + i64::from(milli % divisor > 0);
    Ok(rounded_up.to_string())
}

/// `metadata.labels['key']`
fn subscript<'path>(path: &'path str, field: &str) -> Option<&'path str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

/// `key="value"` lines in order, the form of downward API files.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (index, (key, value)) in map.into_iter().flatten().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        let _ = write!(text, "{separator}{key}={value:?}");
    }
    text
}
