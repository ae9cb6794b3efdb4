//! Pods: what a create stores, what an update may change, and the STATUS column.

use serde_json::{Value, json};

use super::{MADE, created, defaulted, errors, kind, row, update_errors, with};

fn pod() -> Value {
    json!({
        "metadata": {"name": "web-0", "namespace": "default", "creationTimestamp": MADE},
        "spec": {"containers": [{"name": "a", "image": "nginx"}]},
    })
}

#[test]
fn a_small_pod_gets_all_defaults() {
    let object = created(kind("", "Pod"), pod());
    assert_eq!(
        object["spec"],
        json!({
            "containers": [{
                "name": "a",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
        })
    );
    assert_eq!(object["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

#[test]
fn the_quality_of_service_follows_requests_and_limits() {
    let class = |resources: Value| {
        let mut pod = pod();
        pod["spec"]["containers"][0]["resources"] = resources;
        created(kind("", "Pod"), pod)["status"]["qosClass"].clone()
    };
    assert_eq!(class(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    assert_eq!(class(json!({"limits": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(json!({"requests": {"memory": "1Gi"}})), "Burstable");
    assert_eq!(class(json!({"requests": {"cpu": "0"}})), "BestEffort");
}

#[test]
fn an_update_may_change_images_and_metadata_but_no_more() {
    let pods = kind("", "Pod");
    let mut image = pod();
    image["spec"]["containers"][0]["image"] = "nginx:2".into();
    image["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
    assert_eq!(update_errors(pods, pod(), image), Vec::<String>::new());

    let moved = with(&pod(), &json!({"spec": {"nodeName": "n1"}}));
    let errors = update_errors(pods, pod(), moved);
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)\n"
        ),
        "{errors:?}"
    );
    assert!(errors[0].ends_with("spec.nodeName"), "{errors:?}");

    let mut more = pod();
    more["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    assert_eq!(
        update_errors(pods, pod(), more),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
}

#[test]
fn a_status_update_keeps_the_spec_and_the_owners() {
    let pods = kind("", "Pod");
    let old = created(pods, with(&pod(), &json!({"metadata": {"ownerReferences": [{"name": "web"}]}})));
    let mut new =
        with(&old, &json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running", "qosClass": null}}));
    new["metadata"]["ownerReferences"] = json!([]);
    pods.strategy.prepare_status_update(&mut new, &old);
    assert_eq!(new["spec"], old["spec"]);
    assert_eq!(new["metadata"]["ownerReferences"], old["metadata"]["ownerReferences"]);
    assert_eq!(new["status"], json!({"phase": "Running", "qosClass": "BestEffort"}));
}

#[test]
fn only_a_pod_with_a_node_is_deleted_gracefully() {
    let pods = kind("", "Pod");
    let grace = |patch: Value| pods.strategy.grace_period_seconds(&with(&created(pods, pod()), &patch));
    assert_eq!(grace(json!({})), 0);
    assert_eq!(grace(json!({"spec": {"nodeName": "n"}})), 30);
    assert_eq!(grace(json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": -5}})), 1);
    assert_eq!(grace(json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}})), 0);
}

#[test]
fn field_selectors_see_what_upstream_lets_them_see() {
    let pods = kind("", "Pod");
    let object = with(&created(pods, pod()), &json!({"spec": {"nodeName": "n1"}}));
    let fields = pods.strategy.selectable_fields(&object);
    for (name, value) in [
        ("spec.nodeName", "n1"),
        ("spec.restartPolicy", "Always"),
        ("spec.hostNetwork", "false"),
        ("status.phase", "Pending"),
    ] {
        assert!(fields.contains(&(name, value.to_owned())), "{name}");
    }
}

/// Ready, Status and Restarts of a pod with this status.
fn shown(patch: Value) -> [String; 3] {
    let pods = kind("", "Pod");
    let object = with(&defaulted(pods, pod()), &patch);
    let row = row(pods, &object);
    [row[1].clone(), row[2].clone(), row[3].clone()]
}

fn container(state: Value) -> Value {
    json!({"status": {"phase": "Running", "containerStatuses": [with(&json!({"name": "a"}), &state)]}})
}

#[test]
fn the_status_column_says_what_one_needs_to_know_next() {
    let waiting = |reason: &str| container(json!({"state": {"waiting": {"reason": reason}}}));
    let ended = |end: Value| container(json!({"state": {"terminated": end}}));
    let running = container(json!({"ready": true, "state": {"running": {}}}));
    let table = [
        (json!({"status": {"phase": "Pending"}}), ["0/1", "Pending", "0"]),
        (running.clone(), ["1/1", "Running", "0"]),
        (waiting("ContainerCreating"), ["0/1", "ContainerCreating", "0"]),
        (waiting("PodInitializing"), ["0/1", "PodInitializing", "0"]),
        (waiting("CrashLoopBackOff"), ["0/1", "CrashLoopBackOff", "0"]),
        (ended(json!({"exitCode": 0, "reason": "Completed"})), ["0/1", "Completed", "0"]),
        (ended(json!({"exitCode": 1, "reason": "Error"})), ["0/1", "Error", "0"]),
        (ended(json!({"exitCode": 3})), ["0/1", "ExitCode:3", "0"]),
        (ended(json!({"exitCode": 137, "signal": 9})), ["0/1", "Signal:9", "0"]),
        (with(&running, &json!({"metadata": {"deletionTimestamp": MADE}})), ["1/1", "Terminating", "0"]),
        (json!({"status": {"phase": "Failed", "reason": "Evicted"}}), ["0/1", "Evicted", "0"]),
        (
            json!({"status": {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}),
            ["0/1", "SchedulingGated", "0"],
        ),
    ];
    for (patch, expected) in table {
        assert_eq!(shown(patch.clone()), expected, "{patch}");
    }
}

#[test]
fn the_status_column_follows_init_containers_until_they_are_done() {
    let init = |states: Value, main: Value| {
        json!({
            "spec": {"initContainers": [{"name": "i"}, {"name": "j"}]},
            "status": {"phase": "Pending", "initContainerStatuses": states, "containerStatuses": main},
        })
    };
    let waiting = json!([{"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}]);
    let table = [
        (json!([{"name": "i", "state": {"running": {}}}, {"name": "j"}]), "Init:0/2"),
        (
            json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]),
            "Init:1/2",
        ),
        (json!([{"name": "i", "state": {"terminated": {"exitCode": 2}}}]), "Init:ExitCode:2"),
        (json!([{"name": "i", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]), "Init:Error"),
        (
            json!([{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            "Init:CrashLoopBackOff",
        ),
        (
            json!([{"name": "i", "state": {"terminated": {"exitCode": 0}}},
                   {"name": "j", "state": {"terminated": {"exitCode": 0}}}]),
            "PodInitializing",
        ),
    ];
    for (states, expected) in table {
        assert_eq!(shown(init(states.clone(), waiting.clone()))[1], expected, "{states}");
    }
}

#[test]
fn restarts_say_how_long_ago_the_last_one_was() {
    let status = container(json!({
        "ready": true,
        "restartCount": 2,
        "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T23:57:00Z"}},
    }));
    assert_eq!(shown(status), ["1/1", "Running", "2 (3m ago)"]);
}

#[test]
fn a_sidecar_counts_among_the_ready_containers() {
    let status = json!({
        "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
            "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}],
        },
    });
    assert_eq!(shown(status), ["2/2", "Running", "0"]);
}

#[test]
fn the_wide_row_names_node_and_address() {
    let pods = kind("", "Pod");
    let empty = row(pods, &defaulted(pods, pod()));
    assert_eq!(empty[4..], ["120m", "<none>", "<none>", "<none>", "<none>"]);
    let patch = json!({
        "spec": {"nodeName": "n1", "readinessGates": [{"conditionType": "x/y"}]},
        "status": {"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}],
                   "conditions": [{"type": "x/y", "status": "True"}]},
    });
    let full = row(pods, &with(&defaulted(pods, pod()), &patch));
    assert_eq!(full[5..], ["10.0.0.9", "n1", "<none>", "1/1"]);
}

#[test]
fn a_pod_must_have_a_container_with_a_name_and_an_image() {
    let pods = kind("", "Pod");
    assert_eq!(errors(pods, json!({"metadata": {"name": "x"}})), ["spec.containers: Required value"]);
    assert_eq!(
        errors(pods, json!({"metadata": {"name": "x"}, "spec": {"containers": [{}]}})),
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]
    );
}
