//! `v1` `Service`: a name and an address for pods.
//!
//! Addresses and node ports are allocated by admission. Read next: [`super::service_check`].

use jiff::Timestamp;
use model::field::ErrorList;
use serde_json::{Value, json};

use super::cells;
use super::describe::{Names, kind};
use super::read::{self, Read};
use super::service_check;
use crate::kind::{Column, Kind, NameRule, Strategy, Subresource};

/// The descriptor.
pub(crate) static SERVICE: Kind = {
    let names = Names {
        group: "",
        kind: "Service",
        plural: "services",
        singular: "service",
        key_prefix: "/registry/services/specs",
        definition: "io.k8s.api.core.v1.Service",
    };
    let mut kind = kind(names, COLUMNS, &Service);
    kind.short_names = &["svc"];
    kind.categories = &["all"];
    kind.subresources = &[Subresource::Status];
    kind.create_on_update = true;
    kind.name_rule = NameRule::Label1035;
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Type", "string", "How it is reached: ClusterIP, NodePort, LoadBalancer or ExternalName."),
    cells::shown("Cluster-IP", "string", "Its address inside the cluster."),
    cells::shown("External-IP", "string", "Its address outside the cluster."),
    cells::shown("Port(s)", "string", "Its ports."),
    cells::AGE,
    cells::wide("Selector", "string", "Labels of the pods behind it."),
];

struct Service;

impl Strategy for Service {
    fn default(&self, object: &mut Value) {
        let spec = read::object_mut(object, "spec");
        read::set_default_text(spec, "type", "ClusterIP");
        read::set_default_text(spec, "sessionAffinity", "None");
        let kind = spec.text("type").to_owned();
        match spec.text("sessionAffinity") {
            "None" => read::remove(spec, "sessionAffinityConfig"),
            "ClientIP" => {
                /// Three hours, as upstream.
                const TIMEOUT_SECONDS: i64 = 10_800;
                let config = read::object_mut(spec, "sessionAffinityConfig");
                let client = read::object_mut(config, "clientIP");
                read::set_default(client, "timeoutSeconds", TIMEOUT_SECONDS);
            }
            _ => {}
        }
        for port in read::list_mut(spec, "ports") {
            read::set_default_text(port, "protocol", "TCP");
            let target = port.at("targetPort");
            if target.is_null() || target == 0 || target == "" {
                let number = port.at("port").clone();
                read::set(port, "targetPort", number);
            }
        }
        let has_external = !spec.list("externalIPs").is_empty() && spec.text("clusterIP") != "None";
        let reached_from_outside = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
        if reached_from_outside || (kind == "ClusterIP" && has_external) {
            read::set_default_text(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind != "ExternalName" {
            read::set_default(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            read::set_default(spec, "allocateLoadBalancerNodePorts", true);
        }
        let status = read::object_mut(object, "status");
        read::set_default(status, "loadBalancer", json!({}));
    }

    fn prepare_create(&self, object: &mut Value) {
        read::set(object, "status", json!({"loadBalancer": {}}));
        let spec = read::object_mut(object, "spec");
        let address = spec.text("clusterIP").to_owned();
        if !address.is_empty() && spec.list("clusterIPs").is_empty() {
            read::set(spec, "clusterIPs", json!([address]));
        }
        drop_what_the_type_has_not(object);
    }

    /// Beside the status, keeps what was allocated and the update does not name.
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        read::keep(new, old, "status");
        let kept_type = new.text("spec.type") != "ExternalName" && old.text("spec.type") != "ExternalName";
        let old_ports = old.list("spec.ports").to_vec();
        let spec = read::object_mut(new, "spec");
        let address = spec.text("clusterIP").to_owned();
        let all = spec.list("clusterIPs");
        let unchanged = all.is_empty() || all == old.list("spec.clusterIPs");
        if unchanged && !address.is_empty() && address != old.text("spec.clusterIP") {
            // Whoever changes the one field means both.
            read::set(spec, "clusterIPs", json!([address]));
        }
        if kept_type {
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let unset = spec.text(key).is_empty() && spec.list(key).is_empty();
                if unset && old.at("spec").has(key) {
                    read::set(spec, key, old.at("spec").at(key).clone());
                }
            }
        }
        if matches!(spec.text("type"), "NodePort" | "LoadBalancer") {
            for port in read::list_mut(spec, "ports") {
                keep_node_port(port, &old_ports);
            }
        }
        drop_what_the_type_has_not(new);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        service_check::service(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        service_check::update(new, old)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let addresses = spec.list("clusterIPs");
        let cluster = addresses.first().and_then(Value::as_str).unwrap_or_else(|| spec.text("clusterIP"));
        vec![
            cells::name(object),
            spec.text("type").into(),
            cells::or_none(cluster),
            external(object).into(),
            cells::or_none(&ports(spec.list("ports"))),
            cells::age(object, now),
            cells::labels(spec.at("selector")).into(),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        SELECTABLE.iter().map(|path| (*path, object.text(path).to_owned())).collect()
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        SELECTABLE
    }
}

const SELECTABLE: &[&str] = &["spec.clusterIP", "spec.type"];

/// A port whose number and protocol stay the same keeps the node port it was given.
fn keep_node_port(port: &mut Value, old_ports: &[Value]) {
    if port.number("nodePort").unwrap_or_default() != 0 {
        return;
    }
    let same = |old: &&Value| old.at("port") == port.at("port") && old.at("protocol") == port.at("protocol");
    let kept = old_ports.iter().find(same).map(|old| old.at("nodePort").clone());
    if let Some(node_port) = kept.filter(|kept| !kept.is_null()) {
        read::set(port, "nodePort", node_port);
    }
}

/// Changing the type takes away the fields that only the old one had.
fn drop_what_the_type_has_not(object: &mut Value) {
    let spec = read::object_mut(object, "spec");
    let kind = spec.text("type").to_owned();
    if kind == "ExternalName" {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            read::remove(spec, key);
        }
    }
    if kind != "LoadBalancer" {
        read::remove(spec, "allocateLoadBalancerNodePorts");
        read::remove(spec, "loadBalancerClass");
    }
    if !matches!(kind.as_str(), "LoadBalancer" | "NodePort") && spec.list("externalIPs").is_empty() {
        read::remove(spec, "externalTrafficPolicy");
        read::remove(spec, "healthCheckNodePort");
    }
}

fn external(object: &Value) -> String {
    let spec = object.at("spec");
    let listed = cells::joined(spec.list("externalIPs"));
    let or_none = |text: String| if text.is_empty() { cells::NONE.to_owned() } else { text };
    match spec.text("type") {
        "ClusterIP" | "NodePort" => or_none(listed),
        "LoadBalancer" => {
            let ingress = object.list("status.loadBalancer.ingress").iter();
            let mut addresses: Vec<&str> = ingress
                .map(|ingress| match ingress.text("ip") {
                    "" => ingress.text("hostname"),
                    address => address,
                })
                .collect();
            if !listed.is_empty() {
                addresses.push(&listed);
            }
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        "ExternalName" => spec.text("externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &[Value]) -> String {
    let text = |port: &Value| {
        let number = port.number("port").unwrap_or_default();
        let protocol = port.text("protocol");
        match port.number("nodePort").filter(|node| *node > 0) {
            Some(node) => format!("{number}:{node}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    };
    ports.iter().map(text).collect::<Vec<_>>().join(",")
}
