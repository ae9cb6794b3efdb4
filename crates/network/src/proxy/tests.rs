//! The rules as text, and that nftables takes them (in the kernel tests beside this crate).

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::plan::{self, Applied};
use super::view::{Backends, Frontend, Protocol, ServiceRules, View};
use crate::config::NetworkConfig;

fn config() -> NetworkConfig {
    NetworkConfig {
        cluster_id: "0a1b2c3d".to_owned(),
        state_dir: "/nonexistent".into(),
        pod_range: "10.244.0.0/16".parse().expect("a range"),
        node_range: "10.244.0.0/24".parse().expect("a range"),
        service_range: "10.96.0.0/16".parse().expect("a range"),
        dns_address: "10.96.0.10".parse().expect("an address"),
        mtu: 1500,
    }
}

fn service(name: &str, address: &str) -> Service {
    typed(json!({
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": address, "clusterIPs": [address],
                 "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
    }))
}

fn slice(name: &str, endpoints: &Value) -> EndpointSlice {
    typed(json!({
        "metadata": {"namespace": "default", "name": format!("{name}-x"),
                     "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 15432, "protocol": "TCP"}],
        "endpoints": endpoints,
    }))
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("is of that type")
}

fn applied(view: &View) -> Applied {
    view.all()
        .into_iter()
        .map(|key| (key.clone(), view.rules(&key)))
        .filter(|(_, rules)| !rules.is_empty())
        .collect()
}

#[test]
fn one_changed_endpoint_touches_one_chain() {
    let mut view = View::default();
    view.apply_service(&service("a", "10.96.0.1"));
    view.apply_service(&service("b", "10.96.0.2"));
    view.apply_slice(&slice("a", &json!([{"addresses": ["10.244.0.5"]}])));
    view.apply_slice(&slice("b", &json!([{"addresses": ["10.244.0.6"]}])));
    let before = applied(&view);
    view.take_changed();
    view.apply_slice(&slice("a", &json!([{"addresses": ["10.244.0.5"]}, {"addresses": ["10.244.1.7"]}])));
    assert_eq!(view.take_changed().len(), 1);
    let script = plan::changes(&config(), &before, &applied(&view));
    assert_eq!(
        script,
        "delete element ip ordinal_0a1b2c3d services { 10.96.0.1 . tcp . 5432 : goto svc_10_96_0_1_tcp_5432 }
flush chain ip ordinal_0a1b2c3d svc_10_96_0_1_tcp_5432
delete chain ip ordinal_0a1b2c3d svc_10_96_0_1_tcp_5432
add chain ip ordinal_0a1b2c3d svc_10_96_0_1_tcp_5432
add rule ip ordinal_0a1b2c3d svc_10_96_0_1_tcp_5432 meta l4proto tcp dnat ip addr . port to numgen random mod 2 map { 0 : 10.244.0.5 . 15432, 1 : 10.244.1.7 . 15432 }
add element ip ordinal_0a1b2c3d services { 10.96.0.1 . tcp . 5432 : goto svc_10_96_0_1_tcp_5432 }
add element ip ordinal_0a1b2c3d hairpins { 10.244.0.5 . 10.244.0.5 }
"
    );
}

#[test]
fn a_service_with_nobody_ready_refuses_connections() {
    let mut view = View::default();
    view.apply_service(&service("a", "10.96.0.1"));
    let not_ready = json!([{"addresses": ["10.244.0.5"], "conditions": {"ready": false}}]);
    view.apply_slice(&slice("a", &not_ready));
    let script = plan::changes(&config(), &Applied::new(), &applied(&view));
    assert_eq!(script, "add element ip ordinal_0a1b2c3d unserved { 10.96.0.1 . tcp . 5432 }\n");
}

#[test]
fn endpoints_that_end_still_serve_when_nobody_is_ready() {
    let mut view = View::default();
    view.apply_service(&service("a", "10.96.0.1"));
    let ending = json!([{"addresses": ["10.244.0.5"],
        "conditions": {"ready": false, "serving": true, "terminating": true}}]);
    view.apply_slice(&slice("a", &ending));
    assert!(plan::whole(&config(), &applied(&view)).contains("10.244.0.5 . 15432"));
}

#[test]
fn a_headless_service_has_no_rules_and_nothing_changed_is_an_empty_script() {
    let mut view = View::default();
    view.apply_service(&service("a", "None"));
    assert!(applied(&view).is_empty());
    view.apply_service(&service("b", "10.96.0.2"));
    let rules = applied(&view);
    assert_eq!(plan::changes(&config(), &rules, &rules), "");
}

#[test]
fn udp_flows_are_broken_when_an_endpoint_goes_or_the_port_is_new_and_only_then() {
    let port = Frontend { address: [10, 96, 0, 7].into(), protocol: Protocol::Udp, port: 53 };
    let with = |protocol: Protocol, endpoints: &[u8]| {
        let endpoints = endpoints.iter().map(|last| ([10, 244, 0, *last].into(), 5353)).collect();
        let rules =
            ServiceRules::from([(Frontend { protocol, ..port }, Backends { endpoints, sticky: false })]);
        Applied::from([(("default".to_owned(), "d".to_owned()), rules)])
    };
    let udp = |endpoints: &[u8]| with(Protocol::Udp, endpoints);
    let broken = |old: &Applied, new: &Applied| {
        let kept = plan::broken_flows(old, new);
        kept.get(&(port.address, 53)).map(|endpoints| endpoints.len())
    };
    assert_eq!(broken(&udp(&[1, 2]), &udp(&[2])), Some(1));
    assert_eq!(broken(&udp(&[1]), &udp(&[])), Some(0));
    assert_eq!(broken(&udp(&[1]), &Applied::new()), Some(0));
    assert_eq!(broken(&Applied::new(), &udp(&[1])), Some(1));
    assert_eq!(broken(&udp(&[1]), &udp(&[1, 2])), None);
    assert_eq!(broken(&with(Protocol::Tcp, &[1]), &with(Protocol::Tcp, &[])), None);
}
