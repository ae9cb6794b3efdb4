//! Pod specs: defaults of their parts, and every error users are likely to meet.

use serde_json::{Value, json};

use super::{created, errors, kind, with};

fn pod(container: &Value, spec: &Value) -> Value {
    let container = with(&json!({"name": "a", "image": "nginx:1"}), container);
    let spec = with(&json!({"containers": [container]}), spec);
    json!({"metadata": {"name": "x", "namespace": "default"}, "spec": spec})
}

fn container(patch: Value) -> Value {
    created(kind("", "Pod"), pod(&patch, &json!({})))["spec"]["containers"][0].clone()
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:aa", "IfNotPresent"),
    ] {
        assert_eq!(container(json!({"image": image}))["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn probes_ports_variables_and_amounts_get_their_defaults() {
    let probe = container(json!({"readinessProbe": {"httpGet": {"port": 80}}}))["readinessProbe"].clone();
    assert_eq!(
        probe,
        json!({
            "failureThreshold": 3,
            "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
            "periodSeconds": 10,
            "successThreshold": 1,
            "timeoutSeconds": 1,
        })
    );
    let ports = container(json!({"ports": [{"containerPort": 80}]}))["ports"].clone();
    assert_eq!(ports, json!([{"containerPort": 80, "protocol": "TCP"}]));
    let env = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let env = container(json!({"env": env}))["env"].clone();
    assert_eq!(env[0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    let resources = container(json!({"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}));
    assert_eq!(
        resources["resources"],
        json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}})
    );
}

#[test]
fn volumes_get_their_modes_and_types() {
    let volumes = json!([
        {"name": "a", "configMap": {"name": "x"}},
        {"name": "b", "hostPath": {"path": "/x"}},
        {"name": "c"},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    ]);
    let object = created(kind("", "Pod"), pod(&json!({}), &json!({"volumes": volumes})));
    assert_eq!(
        object["spec"]["volumes"],
        json!([
            {"name": "a", "configMap": {"name": "x", "defaultMode": 420}},
            {"name": "b", "hostPath": {"path": "/x", "type": ""}},
            {"name": "c", "emptyDir": {}},
            {"name": "d", "projected": {
                "defaultMode": 420,
                "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
            }},
        ])
    );
}

#[test]
fn a_pod_on_the_hosts_network_has_the_hosts_ports() {
    let ports = json!({"ports": [{"containerPort": 80}]});
    let object = created(kind("", "Pod"), pod(&ports, &json!({"hostNetwork": true})));
    assert_eq!(object["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
}

#[test]
fn bad_containers_are_refused_with_upstreams_words() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}),
            vec![r#"spec.containers[0].volumeMounts[0].name: Not found: "x""#],
        ),
        (
            json!({"readinessProbe": {}}),
            vec!["spec.containers[0].readinessProbe: Required value: must specify a handler type"],
        ),
        (
            json!({"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}}),
            vec![
                "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            ],
        ),
        (
            json!({"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}}),
            vec!["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            json!({"readinessProbe": {"httpGet": {"port": 0}}}),
            vec![
                "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, \
                 inclusive",
            ],
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            vec![
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ],
        ),
        (
            json!({"resources": {"requests": {"memory": "-1"}}}),
            vec![
                r#"spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0"#,
            ],
        ),
        (
            json!({"resources": {"requests": {"memory": "lots"}}}),
            vec![
                r#"spec.containers[0].resources.requests[memory]: Invalid value: "lots": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"#,
            ],
        ),
        (
            json!({"ports": [{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 81}]}),
            vec![r#"spec.containers[0].ports[1].name: Duplicate value: "http""#],
        ),
        (
            json!({"ports": [{"containerPort": 80, "protocol": "tcp"}]}),
            vec![
                r#"spec.containers[0].ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP""#,
            ],
        ),
        (
            json!({"imagePullPolicy": "Sometimes"}),
            vec![
                r#"spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#,
            ],
        ),
        (
            json!({"env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
            vec![
                r#"spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#,
            ],
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.secret"}}}]}),
            vec![
                r#"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.secret": error converting fieldPath: field label not supported: spec.secret"#,
            ],
        ),
        (
            json!({"envFrom": [{}]}),
            vec![
                r#"spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`"#,
            ],
        ),
        (
            json!({"image": " nginx"}),
            vec![
                r#"spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace"#,
            ],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(errors(kind("", "Pod"), pod(&patch, &json!({}))), expected, "{patch}");
    }
}

#[test]
fn bad_specs_are_refused_with_upstreams_words() {
    let table: Vec<(Value, Vec<&str>)> = vec![
        (
            json!({"restartPolicy": "Maybe"}),
            vec![
                r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure""#,
            ],
        ),
        (
            json!({"terminationGracePeriodSeconds": -1}),
            vec!["spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
            vec![r#"spec.volumes[1].name: Duplicate value: "v""#],
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}),
            vec!["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]}),
            vec!["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
        ),
        (
            json!({"volumes": [{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "../x"}]}}]}),
            vec![r#"spec.volumes[0].secret.items[0].path: Invalid value: "../x": must not contain '..'"#],
        ),
        (
            json!({"initContainers": [{"name": "a", "image": "x"}]}),
            vec![r#"spec.initContainers[0].name: Duplicate value: "a""#],
        ),
        (
            json!({"tolerations": [{"value": "x"}]}),
            vec![
                r#"spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
            ],
        ),
        (
            json!({"dnsPolicy": "None"}),
            vec!["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            vec!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(errors(kind("", "Pod"), pod(&json!({}), &patch)), expected, "{patch}");
    }
}

#[test]
fn a_variable_that_hides_another_and_half_a_byte_are_warned_of() {
    let object = created(
        kind("", "Pod"),
        pod(
            &json!({
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
                "resources": {"limits": {"memory": "100m"}},
            }),
            &json!({}),
        ),
    );
    let warnings = kind("", "Pod").strategy.warnings(&object, None);
    assert_eq!(
        warnings,
        [
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an \
             integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an \
             integer",
        ]
    );
}

#[test]
fn what_a_pod_asks_of_others_is_refused_in_upstreams_words() {
    let selector = json!({"matchLabels": {"app": "web"}});
    let term = |more: Value| with(&json!({"topologyKey": "zone", "labelSelector": selector}), &more);
    let near = |more: Value| json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(more)]}}});
    let rule = |more: Value| {
        let whole = json!({"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"});
        json!({"topologySpreadConstraints": [with(&term(whole), &more)]})
    };
    let twice = json!({"topologySpreadConstraints": [
        term(json!({"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"})),
        term(json!({"maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"})),
    ]});
    let by_field = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.uid", "operator": "Exists"}]}]}}}});
    let near_path = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    let field_path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution\
        .nodeSelectorTerms[0].matchFields[0]";
    let spread = "spec.topologySpreadConstraints[0]";
    for (patch, expected) in [
        (
            near(json!({"labelSelector": null, "matchLabelKeys": ["rev"]})),
            vec![format!(
                "{near_path}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"
            )],
        ),
        (
            near(json!({"matchLabelKeys": ["rev"], "mismatchLabelKeys": ["rev"]})),
            vec![format!(
                r#"{near_path}.matchLabelKeys[0]: Invalid value: "rev": exists in both matchLabelKeys and mismatchLabelKeys"#
            )],
        ),
        (
            by_field,
            vec![
                format!(r#"{field_path}.operator: Invalid value: "Exists": not a valid selector operator"#),
                format!(r#"{field_path}.key: Invalid value: "metadata.uid": not a valid field selector key"#),
            ],
        ),
        (
            twice,
            vec![format!(
                r#"{spread}.{{topologyKey, whenUnsatisfiable}}: Duplicate value: "{{zone, DoNotSchedule}}""#
            )],
        ),
        (
            rule(json!({"whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2})),
            vec![format!(
                "{spread}.minDomains: Invalid value: 2: can only use minDomains if \
                 whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
            )],
        ),
        (
            rule(json!({"nodeTaintsPolicy": "Maybe"})),
            vec![format!(
                r#"{spread}.nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore""#
            )],
        ),
        (
            rule(json!({"matchLabelKeys": ["app"]})),
            vec![format!(
                r#"{spread}.matchLabelKeys[0]: Invalid value: "app": exists in both matchLabelKeys and labelSelector"#
            )],
        ),
    ] {
        assert_eq!(errors(kind("", "Pod"), pod(&json!({}), &patch)), expected, "{patch}");
    }
}

#[test]
fn the_values_of_label_keys_become_part_of_the_selector_once() {
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["rev", "missing"], "mismatchLabelKeys": ["tenant"]});
    let mut object = pod(
        &json!({}),
        &json!({"affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
    );
    object["metadata"]["labels"] = json!({"app": "web", "rev": "7", "tenant": "t"});
    let path = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0";
    let once = created(kind("", "Pod"), object);
    let selector = once.pointer(path).expect("is there")["labelSelector"].clone();
    let expressions = json!([
        {"key": "rev", "operator": "In", "values": ["7"]},
        {"key": "tenant", "operator": "NotIn", "values": ["t"]},
    ]);
    assert_eq!(selector, json!({"matchLabels": {"app": "web"}, "matchExpressions": expressions}));
    assert_eq!(created(kind("", "Pod"), once.clone())["spec"]["affinity"], once["spec"]["affinity"]);
}
