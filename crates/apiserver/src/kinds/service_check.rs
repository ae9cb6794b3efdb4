//! What a Service must be, and what may change about it.

use model::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use super::check::{self, root};
use super::endpoints::PROTOCOLS;
use super::read::Read;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const TRAFFIC_POLICIES: [&str; 2] = ["Cluster", "Local"];
/// A day: upstream's bound on how long a client sticks to a pod.
const AFFINITY_SECONDS_MAX: i64 = 86_400;

/// A Service by itself.
pub(crate) fn service(object: &Value) -> ErrorList {
    let (spec, path) = (object.at("spec"), root("spec"));
    let kind = spec.text("type");
    let headless = is_headless(spec);
    let mut errors = ErrorList::new();
    if spec.list("ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(&path.child("clusterIPs").index(0), "None", detail));
        }
        "ExternalName" => errors.extend(external_name(spec, &path)),
        _ => {}
    }
    errors.extend(ports(spec, &path));
    errors.extend(check::labels(spec.at("selector"), &path.child("selector")));
    errors.extend(affinity(spec, &path));
    check::one_of(spec, &path, "type", &TYPES, &mut errors);
    errors.extend(addresses(spec, &path));
    errors.extend(outside(spec, &path));
    if kind != "ExternalName" {
        check::one_of_if_set(spec, &path, "internalTrafficPolicy", &TRAFFIC_POLICIES, &mut errors);
    }
    errors
}

fn is_headless(spec: &Value) -> bool {
    spec.text("clusterIP") == "None" || spec.list("clusterIPs").iter().any(|address| address == "None")
}

fn external_name(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !spec.list("clusterIPs").is_empty() || !spec.text("clusterIP").is_empty() {
        let detail = "may not be set for ExternalName services";
        errors.push(Error::forbidden(&path.child("clusterIPs"), detail));
    }
    // A trailing dot is allowed: the name goes into a CNAME.
    let name = spec.text("externalName");
    let trimmed = name.strip_suffix('.').unwrap_or(name);
    if check::required(spec, path, "externalName", &mut errors) {
        let messages = model::names::dns1123_subdomain(trimmed);
        errors.extend(check::each(&path.child("externalName"), name, messages));
    }
    errors
}

fn ports(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let ports = spec.list("ports");
    let cluster_only = spec.text("type") == "ClusterIP";
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        let before = &ports[..index];
        let name = port.text("name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(check::each(&path.child("name"), name, model::names::dns1123_label(name)));
            if before.iter().any(|other| other.text("name") == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        let number = port.number("port").unwrap_or_default();
        errors.extend(check::port_number(&path.child("port"), number));
        check::one_of(port, &path, "protocol", &PROTOCOLS, &mut errors);
        errors.extend(check::port_number_or_name(&path.child("targetPort"), port.at("targetPort")));
        let protocol = port.text("protocol");
        if !port.text("appProtocol").is_empty() {
            let name = port.text("appProtocol");
            errors.extend(check::each(&path.child("appProtocol"), name, model::names::qualified_name(name)));
        }
        let same = |other: &Value, key: &str| {
            other.text("protocol") == protocol && other.number(key) == port.number(key)
        };
        if before.iter().any(|other| same(other, "port")) {
            errors.push(Error::duplicate(&path, json!({"protocol": protocol, "port": number})));
        }
        let node_port = port.number("nodePort").unwrap_or_default();
        if node_port == 0 {
            continue;
        }
        if cluster_only {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(Error::forbidden(&path.child("nodePort"), detail));
        }
        if before.iter().any(|other| same(other, "nodePort")) {
            errors.push(Error::duplicate(&path.child("nodePort"), node_port));
        }
    }
    errors
}

fn affinity(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    check::one_of(spec, path, "sessionAffinity", &["ClientIP", "None"], &mut errors);
    let config = path.child("sessionAffinityConfig");
    match spec.text("sessionAffinity") {
        "ClientIP" => {
            let at = config.child("clientIP.timeoutSeconds");
            let seconds = spec.number("sessionAffinityConfig.clientIP.timeoutSeconds").unwrap_or_default();
            if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds) {
                let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                errors.push(Error::invalid(&at, seconds, detail));
            }
        }
        "None" if spec.has("sessionAffinityConfig") => {
            let detail = "must not be set when session affinity is None";
            errors.push(Error::forbidden(&config, detail));
        }
        _ => {}
    }
    errors
}

fn addresses(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = path.child("clusterIPs");
    let all = spec.list("clusterIPs");
    for (index, address) in all.iter().filter_map(Value::as_str).enumerate() {
        let path = at.index(index);
        match address {
            "None" if all.len() > 1 => {
                let detail = "'None' must be the first and only value";
                errors.push(Error::invalid(&at, Value::Array(all.to_vec()), detail));
            }
            "None" => {}
            address => errors.extend(check::ip_address(&path, address)),
        }
    }
    let first = all.first().and_then(Value::as_str);
    if first.is_some_and(|first| first != spec.text("clusterIP")) {
        let detail = "first value must match `clusterIP`";
        errors.push(Error::invalid(&at, Value::Array(all.to_vec()), detail));
    }
    for (index, family) in spec.list("ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        if !["IPv4", "IPv6"].contains(&family) {
            let path = path.child("ipFamilies").index(index);
            errors.push(Error::not_supported(&path, family, &["IPv4", "IPv6"]));
        }
    }
    let policies = ["SingleStack", "PreferDualStack", "RequireDualStack"];
    check::one_of_if_set(spec, path, "ipFamilyPolicy", &policies, &mut errors);
    for (index, address) in spec.list("externalIPs").iter().filter_map(Value::as_str).enumerate() {
        errors.extend(check::endpoint_ip(&path.child("externalIPs").index(index), address));
    }
    errors
}

/// What only services that are reached from outside may say.
fn outside(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = spec.text("type");
    let policy = spec.text("externalTrafficPolicy");
    let reachable = matches!(kind, "NodePort" | "LoadBalancer") || !spec.list("externalIPs").is_empty();
    let at = path.child("externalTrafficPolicy");
    if !policy.is_empty() && !reachable {
        let detail = "may only be set for externally-accessible services";
        errors.push(Error::invalid(&at, policy, detail));
    } else if !policy.is_empty() {
        check::one_of_if_set(spec, path, "externalTrafficPolicy", &TRAFFIC_POLICIES, &mut errors);
    }
    let health = spec.number("healthCheckNodePort").unwrap_or_default();
    if health != 0 && !(kind == "LoadBalancer" && policy == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(Error::invalid(&path.child("healthCheckNodePort"), health, detail));
    }
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.has(key) && kind != "LoadBalancer" {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.push(Error::forbidden(&path.child(key), detail));
        }
    }
    errors
}

/// An update: an address that was given stays.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = service(new);
    let (new, old) = (new.at("spec"), old.at("spec"));
    if new.text("type") == "ExternalName" || old.text("type") == "ExternalName" {
        return errors;
    }
    let (address, was) = (new.text("clusterIP"), old.text("clusterIP"));
    if was.is_empty() || address == was {
        return errors;
    }
    let detail =
        if address.is_empty() { "primary clusterIP can not be unset" } else { "may not change once set" };
    let bad = match new.list("clusterIPs") {
        [] => json!([address]),
        all => Value::Array(all.to_vec()),
    };
    errors.push(Error::invalid(&root("spec.clusterIPs").index(0), bad, detail));
    errors
}
