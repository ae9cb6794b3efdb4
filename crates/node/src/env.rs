//! A container's environment: pure, from the pod and the objects it refers to.
//!
//! Order matters: service variables, then `envFrom`, then `env`; later entries win, and `$(NAME)` refers to
//! what stands before. Messages of missing references are those that clients know.
//!
//! Read next: [`fields`](crate::fields) for `fieldRef`; [`crate::sources`] for where the objects come from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret, Service};

use crate::fields;

/// The objects that a pod refers to; `None` for those that are not there.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// ConfigMaps of the pod's namespace.
    pub config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets of the pod's namespace.
    pub secrets: BTreeMap<String, Option<Arc<Secret>>>,
    /// Services whose addresses the environment names.
    pub services: Vec<Arc<Service>>,
}

/// What of the node and the sandbox a pod may ask for.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The pod's addresses.
    pub pod_ips: Vec<IpAddr>,
    /// The node's address.
    pub host_ip: String,
    /// Thousandths of CPU a container without a limit may use.
    pub allocatable_cpu_milli: i64,
    /// Bytes of memory a container without a limit may use.
    pub allocatable_memory_bytes: i64,
}

/// The environment cannot be made (`CreateContainerConfigError`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Builds the environment of one container.
pub fn build(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &Facts,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Environment::default();
    for (name, value) in service_variables(&sources.services) {
        env.set(name, value);
    }
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            if let Some(map) = find_config_map(sources, &reference.name, reference.optional)? {
                for (key, value) in map.data.iter().flatten() {
                    env.set(format!("{prefix}{key}"), value.clone());
                }
            }
        } else if let Some(reference) = &from.secret_ref
            && let Some(secret) = find_secret(sources, &reference.name, reference.optional)?
        {
            for (key, value) in secret.data.iter().flatten() {
                env.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand(value, |name| env.get(name))),
            (_, Some(source)) => from_source(pod, container, source, sources, facts)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            env.set(variable.name.clone(), value);
        }
    }
    Ok(env.entries)
}

/// Replaces `$(NAME)` by what `lookup` knows; `$$` is a dollar, unknown names stay as they are.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|tail| tail.split_once(')')) {
            match lookup(name) {
                Some(value) => result.push_str(&value),
                None => {
                    result.push_str("$(");
                    result.push_str(name);
                    result.push(')');
                }
            }
            rest = after;
        } else {
            result.push('$');
            rest = tail;
        }
    }
    result.push_str(rest);
    result
}

#[derive(Default)]
struct Environment {
    entries: Vec<(String, String)>,
    index: BTreeMap<String, usize>,
}

impl Environment {
    fn set(&mut self, name: String, value: String) {
        match self.index.get(&name) {
            Some(at) => self.entries[*at].1 = value,
            None => {
                self.index.insert(name.clone(), self.entries.len());
                self.entries.push((name, value));
            }
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.index.get(name).map(|at| self.entries[*at].1.clone())
    }
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
    facts: &Facts,
) -> Result<Option<String>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return fields::field(pod, &reference.field_path, facts).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        let divisor = reference.divisor.as_ref().map(|divisor| divisor.0.as_str());
        let of = match &reference.container_name {
            Some(name) if !name.is_empty() => fields::container(pod, name)?,
            _ => container,
        };
        return fields::resource(of, &reference.resource, divisor, facts).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let Some(map) = find_config_map(sources, &reference.name, reference.optional)? else {
            return Ok(None);
        };
        let found = map.data.as_ref().and_then(|data| data.get(&reference.key)).cloned();
        return match found {
            None if reference.optional != Some(true) => Err(ConfigError(format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                reference.key, reference.name
            ))),
            found => Ok(found),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let Some(secret) = find_secret(sources, &reference.name, reference.optional)? else {
            return Ok(None);
        };
        let found = secret.data.as_ref().and_then(|data| data.get(&reference.key));
        return match found {
            None if reference.optional != Some(true) => Err(ConfigError(format!(
                "couldn't find key {} in Secret {namespace}/{}",
                reference.key, reference.name
            ))),
            found => Ok(found.map(|value| String::from_utf8_lossy(&value.0).into_owned())),
        };
    }
    Ok(None)
}

fn find_config_map<'sources>(
    sources: &'sources Sources,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'sources ConfigMap>, ConfigError> {
    match sources.config_maps.get(name).and_then(Option::as_ref) {
        Some(map) => Ok(Some(map)),
        None if optional == Some(true) => Ok(None),
        None => Err(ConfigError(format!("configmap {name:?} not found"))),
    }
}

fn find_secret<'sources>(
    sources: &'sources Sources,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'sources Secret>, ConfigError> {
    match sources.secrets.get(name).and_then(Option::as_ref) {
        Some(secret) => Ok(Some(secret)),
        None if optional == Some(true) => Ok(None),
        None => Err(ConfigError(format!("secret {name:?} not found"))),
    }
}

/// The variables that Docker links had, for every service with an address.
fn service_variables(services: &[Arc<Service>]) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(address) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let name = name.to_uppercase().replace('-', "_");
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let shown = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = |port: i32, protocol: &str| format!("{}://{shown}:{port}", protocol.to_lowercase());
        let protocol_of = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        variables.push((format!("{name}_SERVICE_HOST"), address.to_owned()));
        variables.push((format!("{name}_SERVICE_PORT"), first.port.to_string()));
        for port in ports {
            if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
                let port_name = port_name.to_uppercase().replace('-', "_");
                variables.push((format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string()));
            }
        }
        variables.push((format!("{name}_PORT"), url(first.port, &protocol_of(&first.protocol))));
        for port in ports {
            let protocol = protocol_of(&port.protocol);
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            variables.push((prefix.clone(), url(port.port, &protocol)));
            variables.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
            variables.push((format!("{prefix}_PORT"), port.port.to_string()));
            variables.push((format!("{prefix}_ADDR"), address.to_owned()));
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build_from(env: serde_json::Value, sources: &Sources) -> Result<Vec<(String, String)>, ConfigError> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "env": env}]},
        }))
        .expect("a pod");
        let container = pod.spec.as_ref().expect("spec").containers[0].clone();
        let facts = Facts {
            pod_ips: vec!["10.0.0.3".parse().expect("valid")],
            host_ip: "192.0.2.1".to_owned(),
            allocatable_cpu_milli: 2000,
            allocatable_memory_bytes: 1 << 30,
        };
        build(&pod, &container, sources, &facts)
    }

    fn with_config_map() -> Sources {
        let map: ConfigMap = serde_json::from_value(json!({"data": {"a": "1"}})).expect("a map");
        let mut sources = Sources::default();
        sources.config_maps.insert("m".to_owned(), Some(Arc::new(map)));
        sources
    }

    #[test]
    fn references_expand_from_what_stands_before_and_dollars_escape() {
        let env = json!([
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$$(A)-$(C)-$x"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ]);
        let built = build_from(env, &Sources::default()).expect("builds");
        let built: Vec<String> = built.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(built, ["A=1", "B=1-$(A)-$(C)-$x", "NAME=p", "LABEL=x", "IP=10.0.0.3"]);
    }

    #[test]
    fn missing_references_have_the_texts_clients_know() {
        let reference = |name: &str, key: &str| {
            let reference = json!({"name": name, "key": key});
            json!([{"name": "A", "valueFrom": {"configMapKeyRef": reference}}])
        };
        let missing = build_from(reference("x", "a"), &Sources::default()).expect_err("missing");
        assert_eq!(missing.to_string(), "configmap \"x\" not found");
        let missing = build_from(reference("m", "k"), &with_config_map()).expect_err("missing");
        assert_eq!(missing.to_string(), "couldn't find key k in ConfigMap ns/m");
        let found = build_from(reference("m", "a"), &with_config_map()).expect("builds");
        assert_eq!(found, [("A".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn services_with_an_address_are_named_as_links_were() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "my-db"},
            "spec": {"clusterIP": "10.96.0.5", "ports": [{"name": "sql", "port": 5432}]},
        }))
        .expect("a service");
        let headless: Service = serde_json::from_value(json!({
            "metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]},
        }))
        .expect("a service");
        let sources = Sources { services: vec![Arc::new(service), Arc::new(headless)], ..Sources::default() };
        let built = build_from(json!([]), &sources).expect("builds");
        let built: Vec<String> = built.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            built,
            [
                "MY_DB_SERVICE_HOST=10.96.0.5",
                "MY_DB_SERVICE_PORT=5432",
                "MY_DB_SERVICE_PORT_SQL=5432",
                "MY_DB_PORT=tcp://10.96.0.5:5432",
                "MY_DB_PORT_5432_TCP=tcp://10.96.0.5:5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_ADDR=10.96.0.5",
            ]
        );
    }
}
