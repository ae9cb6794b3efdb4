//! The record forms of the Kubernetes DNS specification, one test each.

use super::*;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

fn zone() -> Zone {
    let mut zone = Zone::default();
    for service in [
        json!({"metadata": {"namespace": "default", "name": "web"},
               "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
        json!({"metadata": {"namespace": "default", "name": "db"},
               "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
                        "ports": [{"name": "SQL", "port": 5432, "protocol": "TCP"}]}}),
        json!({"metadata": {"namespace": "default", "name": "away"},
               "spec": {"type": "ExternalName", "externalName": "example.com"}}),
        json!({"metadata": {"namespace": "default", "name": "near"},
               "spec": {"type": "ExternalName", "externalName": "db.default.svc.cluster.local"}}),
        json!({"metadata": {"namespace": "default", "name": "empty"}, "spec": {"clusterIP": "None"}}),
    ] {
        zone.apply_service(&typed::<Service>(service));
    }
    zone.apply_slice(&slice(true));
    zone
}

fn slice(ready: bool) -> EndpointSlice {
    typed(json!({
        "metadata": {"namespace": "default", "name": "web-abc",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.0.2"], "hostname": "web-0", "conditions": {"ready": ready}},
            {"addresses": ["10.244.0.3"], "hostname": "web-1"},
            {"addresses": ["10.244.0.4"]},
            {"addresses": ["10.244.0.9"], "hostname": "web-9", "conditions": {"ready": false}},
        ],
    }))
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("is of that type")
}

fn ask(zone: &Zone, name: &str, record_type: RecordType) -> (ResponseCode, Vec<String>) {
    let networks = vec!["10.96.0.0/12".parse().expect("a range"), "10.244.0.0/16".parse().expect("one")];
    let authority = Authority::new("cluster.local", networks).expect("a domain");
    let name = Name::from_ascii(name).expect("a name");
    match answer(zone, &authority, &name, record_type) {
        Answer::Authoritative { code, answers, outside, .. } => {
            let mut texts: Vec<String> = answers.iter().map(|record| record.data.to_string()).collect();
            texts.extend(outside.map(|name| format!("outside {name}")));
            (code, texts)
        }
        Answer::Elsewhere => (ResponseCode::Refused, vec!["elsewhere".to_owned()]),
    }
}

#[track_caller]
fn gives(name: &str, record_type: RecordType, expected: &[&str]) {
    let (code, texts) = ask(&zone(), name, record_type);
    assert_eq!((code, texts), (ResponseCode::NoError, expected.iter().map(|t| (*t).to_owned()).collect()));
}

#[track_caller]
fn does_not_exist(name: &str) {
    assert_eq!(ask(&zone(), name, RecordType::A), (ResponseCode::NXDomain, vec![]));
}

#[test]
fn a_cluster_service_has_its_address() {
    gives("db.default.svc.cluster.local.", RecordType::A, &["10.96.0.7"]);
    gives("DB.Default.svc.CLUSTER.local.", RecordType::A, &["10.96.0.7"]);
    gives("db.default.svc.cluster.local.", RecordType::AAAA, &[]);
}

#[test]
fn a_headless_service_has_all_ready_endpoints() {
    let all = ["10.244.0.2", "10.244.0.3", "10.244.0.4"];
    gives("web.default.svc.cluster.local.", RecordType::A, &all);
}

#[test]
fn an_endpoint_has_a_name_of_its_own() {
    gives("web-0.web.default.svc.cluster.local.", RecordType::A, &["10.244.0.2"]);
    gives("10-244-0-4.web.default.svc.cluster.local.", RecordType::A, &["10.244.0.4"]);
    does_not_exist("web-9.web.default.svc.cluster.local.");
    does_not_exist("web-0.db.default.svc.cluster.local.");
}

#[test]
fn a_headless_service_without_ready_endpoints_does_not_exist() {
    does_not_exist("empty.default.svc.cluster.local.");
}

#[test]
fn a_named_port_has_a_service_record() {
    gives(
        "_sql._tcp.db.default.svc.cluster.local.",
        RecordType::SRV,
        &["0 100 5432 db.default.svc.cluster.local."],
    );
    gives(
        "_http._tcp.web.default.svc.cluster.local.",
        RecordType::SRV,
        &[
            "0 33 80 10-244-0-4.web.default.svc.cluster.local.",
            "0 33 80 web-0.web.default.svc.cluster.local.",
            "0 33 80 web-1.web.default.svc.cluster.local.",
        ],
    );
    does_not_exist("_none._tcp.web.default.svc.cluster.local.");
}

#[test]
fn addresses_have_names() {
    gives("7.0.96.10.in-addr.arpa.", RecordType::PTR, &["db.default.svc.cluster.local."]);
    gives("2.0.244.10.in-addr.arpa.", RecordType::PTR, &["web-0.web.default.svc.cluster.local."]);
    assert_eq!(ask(&zone(), "77.0.96.10.in-addr.arpa.", RecordType::PTR).0, ResponseCode::NXDomain);
}

#[test]
fn an_external_name_is_an_alias() {
    gives("away.default.svc.cluster.local.", RecordType::A, &["example.com.", "outside example.com."]);
    gives("near.default.svc.cluster.local.", RecordType::A, &["db.default.svc.cluster.local.", "10.96.0.7"]);
}

#[test]
fn a_pod_address_spelled_out_resolves() {
    gives("10-1-2-3.default.pod.cluster.local.", RecordType::A, &["10.1.2.3"]);
    does_not_exist("web-0.default.pod.cluster.local.");
    does_not_exist("10-1-2-3.nowhere.pod.cluster.local.");
}

#[test]
fn the_schema_version_is_served() {
    gives("dns-version.cluster.local.", RecordType::TXT, &["1.1.0"]);
}

#[test]
fn other_names_are_somebody_elses() {
    for name in ["example.com.", "local.", "1.1.1.1.in-addr.arpa."] {
        assert_eq!(ask(&zone(), name, RecordType::A).1, vec!["elsewhere"]);
    }
}

#[test]
fn a_pod_that_becomes_unready_is_gone_at_once_and_comes_back_at_once() {
    let mut zone = zone();
    let name = "web-0.web.default.svc.cluster.local.";
    zone.apply_slice(&slice(false));
    assert_eq!(ask(&zone, name, RecordType::A).0, ResponseCode::NXDomain);
    zone.apply_slice(&slice(true));
    assert_eq!(ask(&zone, name, RecordType::A).1, vec!["10.244.0.2"]);
    zone.delete_slice(&slice(true));
    assert_eq!(ask(&zone, name, RecordType::A).0, ResponseCode::NXDomain);
    assert!(zone.endpoints_at("10.244.0.3".parse().expect("an address")).is_empty());
}

#[test]
fn nobody_may_remember_that_a_name_does_not_exist() {
    let authority = Authority::new("cluster.local", vec![]).expect("a domain");
    let name = Name::from_ascii("gone.default.svc.cluster.local.").expect("a name");
    let Answer::Authoritative { authorities, .. } = answer(&zone(), &authority, &name, RecordType::A) else {
        panic!("the zone is ours");
    };
    let [soa] = authorities.as_slice() else { panic!("one SOA") };
    assert_eq!(soa.ttl, 0);
    assert!(matches!(&soa.data, RData::SOA(soa) if soa.minimum == 0));
}
