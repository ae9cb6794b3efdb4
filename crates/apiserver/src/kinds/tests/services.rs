//! Services, Endpoints and EndpointSlices.

use serde_json::{Value, json};

use super::{MADE, created, defaulted, errors, kind, row, update_errors, with};

fn service(spec: &Value) -> Value {
    let base = json!({"ports": [{"port": 80}], "selector": {"app": "web"}});
    json!({
        "metadata": {"name": "web", "namespace": "default", "creationTimestamp": MADE},
        "spec": with(&base, spec),
    })
}

#[test]
fn a_service_gets_its_defaults() {
    let object = created(kind("", "Service"), service(&json!({})));
    assert_eq!(
        object["spec"],
        json!({
            "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "selector": {"app": "web"},
            "sessionAffinity": "None",
            "type": "ClusterIP",
        })
    );
    assert_eq!(object["status"], json!({"loadBalancer": {}}));
    let headless = created(kind("", "Service"), service(&json!({"clusterIP": "None"})));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let sticky = created(kind("", "Service"), service(&json!({"sessionAffinity": "ClientIP"})));
    assert_eq!(sticky["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10_800);
}

#[test]
fn bad_services_are_refused_with_upstreams_words() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (json!({"ports": null}), vec!["spec.ports: Required value"]),
        (json!({"ports": null, "clusterIP": "None"}), vec![]),
        (
            json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}),
            vec!["spec.ports[0].name: Required value"],
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}),
            vec![r#"spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}"#],
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}),
            vec![r#"spec.ports[1].name: Duplicate value: "a""#],
        ),
        (
            json!({"ports": [{"port": 0}]}),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            json!({"type": "Funny"}),
            vec![
                r#"spec.type: Unsupported value: "Funny": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
            ],
        ),
        (json!({"type": "ExternalName"}), vec!["spec.externalName: Required value"]),
        (
            json!({"clusterIP": "x"}),
            vec![
                r#"spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            ],
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(errors(kind("", "Service"), service(&patch)), expected, "{patch}");
    }
}

#[test]
fn an_address_that_was_given_stays() {
    let services = kind("", "Service");
    let old = service(&json!({"clusterIP": "10.0.0.1"}));
    assert_eq!(
        update_errors(services, old.clone(), service(&json!({"clusterIP": "10.0.0.2"}))),
        [r#"spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#]
    );
    let old = created(services, old);
    let mut applied = defaulted(services, service(&json!({})));
    services.strategy.prepare_update(&mut applied, &old);
    assert_eq!(applied["spec"]["clusterIP"], "10.0.0.1", "an update that names no address keeps it");
    assert_eq!(applied["spec"]["clusterIPs"], json!(["10.0.0.1"]));
}

#[test]
fn the_row_of_a_service() {
    let services = kind("", "Service");
    let shown = |spec: Value| row(services, &defaulted(services, service(&spec)))[1..].to_vec();
    assert_eq!(
        shown(json!({"clusterIP": "10.0.0.1"})),
        ["ClusterIP", "10.0.0.1", "<none>", "80/TCP", "120m", "app=web"]
    );
    assert_eq!(
        shown(json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": null, "ports": null})),
        ["ClusterIP", "None", "<none>", "<none>", "120m", "<none>"]
    );
    assert_eq!(
        shown(json!({"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30000}]})),
        ["LoadBalancer", "<none>", "<pending>", "80:30000/TCP", "120m", "app=web"]
    );
    assert_eq!(
        shown(json!({"type": "ExternalName", "externalName": "a.b", "ports": null, "selector": null})),
        ["ExternalName", "<none>", "a.b", "<none>", "120m", "<none>"]
    );
}

#[test]
fn rows_of_endpoints_show_three_and_count_the_rest() {
    let endpoints = kind("", "Endpoints");
    let address = |last: u8| json!({"ip": format!("10.0.0.{last}")});
    let object = json!({
        "metadata": {"name": "web", "creationTimestamp": MADE},
        "subsets": [{"addresses": (1..=5).map(address).collect::<Vec<_>>(), "ports": [{"port": 80}]}],
    });
    assert_eq!(row(endpoints, &object), ["web", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...", "120m"]);
    let slices = kind("discovery.k8s.io", "EndpointSlice");
    let object = json!({
        "metadata": {"name": "web-x", "creationTimestamp": MADE},
        "addressType": "IPv4",
        "ports": [{"port": 80}, {"port": 81}],
        "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}],
    });
    assert_eq!(row(slices, &object), ["web-x", "IPv4", "80,81", "10.0.0.1,10.0.0.2", "120m"]);
    let empty = json!({"metadata": {"name": "e", "creationTimestamp": MADE}, "addressType": "IPv4"});
    assert_eq!(row(slices, &empty), ["e", "IPv4", "<unset>", "<unset>", "120m"]);
}

#[test]
fn bad_slices_are_refused() {
    let slices = kind("discovery.k8s.io", "EndpointSlice");
    let table: Vec<(Value, Vec<&str>)> = vec![
        (json!({}), vec!["addressType: Required value"]),
        (
            json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}),
            vec!["endpoints[0].addresses: Required value: must contain at least 1 address"],
        ),
        (
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}),
            vec![
                r#"endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
            ],
        ),
        (
            json!({"addressType": "IPv4", "ports": [{"port": 1}, {"port": 2}]}),
            vec![r#"ports[1].name: Duplicate value: """#],
        ),
    ];
    for (object, expected) in table {
        assert_eq!(errors(slices, object.clone()), expected, "{object}");
    }
    let v4 = json!({"addressType": "IPv4"});
    assert_eq!(
        update_errors(slices, v4, json!({"addressType": "IPv6"})),
        [r#"addressType: Invalid value: "IPv6": field is immutable"#]
    );
}
