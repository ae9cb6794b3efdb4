//! Probes over the network, and the hook before the end.

use crate::space::Space;

const READY: &str = "{.status.conditions[?(@.type=='Ready')].status}";
/// Serves files of `/www` from the moment that `/tmp/go` is there.
const SERVER: &str =
    r#"["sh", "-c", "mkdir /www; until [ -e /tmp/go ]; do sleep 0.05; done; exec httpd -f -p 8080 -h /www"]"#;

/// Waits until the pod was said not to be ready for this reason.
fn wait_unhealthy(space: &Space, pod: &str, reason: &str) {
    let field = format!("involvedObject.name={pod},reason=Unhealthy");
    let messages = ["get", "events", "--field-selector", &field, "-o", "jsonpath={.items[*].message}"];
    space.wait(&format!("{pod} is unhealthy: {reason}"), || space.run(&messages).contains(reason));
    assert_eq!(space.value(&format!("pod/{pod}"), READY), "False");
}

#[test]
fn an_http_probe_asks_for_its_path_and_takes_200_for_yes() {
    let Some(space) = Space::new() else { return };
    let probe = "ports: [{name: web, containerPort: 8080}], \
                 readinessProbe: {httpGet: {path: /here.html, port: web}, periodSeconds: 1},";
    space.pod("p", SERVER, probe, "");
    wait_unhealthy(&space, "p", "connection refused");
    space.exec("p", "touch /tmp/go");
    wait_unhealthy(&space, "p", "HTTP probe failed with statuscode: 404");
    space.exec("p", "echo yes > /www/here.html");
    space.wait_pod("p");
    space.exec("p", "rm /www/here.html");
    space.wait_value("pod/p", READY, "False");
}

#[test]
fn a_tcp_probe_asks_whether_somebody_listens() {
    let Some(space) = Space::new() else { return };
    let probes = "readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}, \
                  livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 2}, \
                  startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 1000},";
    space.pod("p", SERVER, probes, "");
    wait_unhealthy(&space, "p", "connection refused");
    assert_eq!(space.value("pod/p", "{.status.containerStatuses[0].started}"), "false");
    space.exec("p", "touch /tmp/go");
    space.wait_pod("p");
    assert_eq!(space.value("pod/p", "{.status.containerStatuses[0].restartCount}"), "0");
}

/// A pod that says when it is asked to end, with a `preStop` hook that runs this.
fn with_hook(space: &Space, grace_seconds: u32, hook: &str) {
    let script = "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 1000 & wait $!; done";
    space.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{terminationGracePeriodSeconds: \
         {grace_seconds}, containers: [{{name: c, image: busybox, command: [sh, -c, \"{script}\"], \
         lifecycle: {{preStop: {{exec: {{command: [sh, -c, \"{hook}\"]}}}}}}}}]}}}}"
    ));
    space.wait_pod("p");
}

#[test]
fn the_hook_before_the_end_is_over_before_the_container_is_asked_to_end() {
    let Some(space) = Space::new() else { return };
    with_hook(&space, 60, "echo hook begins > /proc/1/fd/1; sleep 1; echo hook ends > /proc/1/fd/1");
    let logs = space.follow(&["logs", "-f", "p"]);
    assert_eq!(logs.line(), "up");
    space.run(&["delete", "pod", "p", "--wait=false"]);
    assert_eq!([logs.line(), logs.line(), logs.line()], ["hook begins", "hook ends", "asked"]);
    space.wait_gone("pod/p");
}

#[test]
fn a_hook_that_takes_too_long_is_not_waited_for() {
    let Some(space) = Space::new() else { return };
    with_hook(&space, 2, "echo hook begins > /proc/1/fd/1; sleep 1000");
    let logs = space.follow(&["logs", "-f", "p"]);
    assert_eq!(logs.line(), "up");
    space.run(&["delete", "pod", "p", "--wait=false"]);
    assert_eq!([logs.line(), logs.line()], ["hook begins", "asked"]);
    space.wait_gone("pod/p");
    let field = "involvedObject.name=p,reason=FailedPreStopHook";
    assert!(!space.run(&["get", "events", "--field-selector", field, "-o", "name"]).is_empty());
}
