//! Pods: what runs before them, what they know, how they fail, what they may use, and how they end.

use crate::space::{IDLE, Space};

const WAITING: &str = "{.status.containerStatuses[0].state.waiting.reason}";
const TERMINATED: &str = "{.status.containerStatuses[0].state.terminated.reason}";

#[test]
fn init_containers_run_one_after_the_other_before_the_pod() {
    let Some(space) = Space::new() else { return };
    let init = |name: &str| {
        format!(
            "{{name: {name}, image: busybox, command: [sh, -c, \"echo {name} >> /v/order\"], \
             volumeMounts: [{{name: v, mountPath: /v}}]}}"
        )
    };
    let spec =
        format!("volumes: [{{name: v, emptyDir: {{}}}}], initContainers: [{}, {}],", init("a"), init("b"));
    space.pod("p", IDLE, "volumeMounts: [{name: v, mountPath: /v}],", &spec);
    space.wait_pod("p");
    assert_eq!(space.exec("p", "cat /v/order"), "a\nb");
    let reasons = "{.status.initContainerStatuses[*].state.terminated.reason}";
    assert_eq!(space.value("pod/p", reasons), "Completed Completed");
}

#[test]
fn a_container_knows_what_its_environment_was_said_to_be() {
    let Some(space) = Space::new() else { return };
    space.run(&["create", "configmap", "c", "--from-literal=colour=blue", "--from-literal=ALL=yes"]);
    space.run(&["create", "secret", "generic", "s", "--from-literal=word=hush"]);
    let env = "env: [{name: PLAIN, value: a}, {name: BOTH, value: \"$(PLAIN)b $$(PLAIN)\"}, \
        {name: COLOUR, valueFrom: {configMapKeyRef: {name: c, key: colour}}}, \
        {name: WORD, valueFrom: {secretKeyRef: {name: s, key: word}}}, \
        {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, \
        {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, \
        {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}], \
        envFrom: [{configMapRef: {name: c}}], resources: {limits: {memory: 32Mi, cpu: 200m}},";
    space.pod("p", IDLE, env, "");
    space.wait_pod("p");
    let address = space.value("pod/p", "{.status.podIP}");
    let words = space.exec("p", "echo \"$BOTH|$COLOUR|$WORD|$ME|$ADDRESS|$MEMORY|$ALL\"");
    assert_eq!(words, format!("ab $(PLAIN)|blue|hush|p|{address}|32|yes"));
    // One hierarchy (v2) or one for each controller (v1).
    let limits = "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null; \
                  cut -d ' ' -f 1 cpu.max cpu/cpu.cfs_quota_us 2>/dev/null; true";
    assert_eq!(space.exec("p", limits), "33554432\n20000");
}

#[test]
fn a_container_over_its_memory_limit_is_killed_and_says_so() {
    let Some(space) = Space::new() else { return };
    let eat = r#"["sh", "-c", "x=a; while :; do x=$x$x; done"]"#;
    space.pod("p", eat, "resources: {limits: {memory: 16Mi}},", "restartPolicy: Never,");
    space.wait_value("pod/p", TERMINATED, "OOMKilled");
    assert_eq!(space.value("pod/p", "{.status.containerStatuses[0].state.terminated.exitCode}"), "137");
    space.wait_value("pod/p", "{.status.phase}", "Failed");
}

#[test]
fn failures_are_seen_where_kubectl_shows_them() {
    let Some(space) = Space::new() else { return };
    space.pod("crash", r#"["sh", "-c", "exit 3"]"#, "", "");
    space.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: pull}, spec: {containers: [{name: c, \
         image: \"127.0.0.1:1/x\"}]}}",
    );
    space.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: never}, spec: {containers: [{name: c, \
         image: invalid.invalid/x, imagePullPolicy: Never}]}}",
    );
    space.wait_value("pod/never", WAITING, "ErrImageNeverPull");
    space.wait_value("pod/crash", WAITING, "CrashLoopBackOff");
    assert_eq!(space.value("pod/crash", "{.status.containerStatuses[0].lastState.terminated.exitCode}"), "3");
    space.wait_value("pod/pull", WAITING, "ImagePullBackOff");
    let table = space.run(&["get", "pods", "--no-headers"]);
    for (pod, status) in
        [("crash", "CrashLoopBackOff"), ("pull", "ImagePull"), ("never", "ErrImageNeverPull")]
    {
        // Between two tries the table may show the try.
        let line = table.lines().find(|line| line.starts_with(pod)).expect("a line for each pod");
        assert!(line.contains(status) || line.contains("Err") || line.contains("Error"), "{line}");
    }
}

#[test]
fn a_pull_that_is_refused_is_told_before_it_is_backed_off_from() {
    let Some(space) = Space::new() else { return };
    let follower = space.follow(&["get", "pods", "-w", "--no-headers"]);
    space.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: pull}, spec: {containers: [{name: c, \
         image: \"127.0.0.1:1/x\"}]}}",
    );
    follower.until(|words| words.get(2) == Some(&"ErrImagePull"));
    follower.until(|words| words.get(2) == Some(&"ImagePullBackOff"));
}

#[test]
fn a_container_that_fails_its_liveness_probe_is_started_again() {
    let Some(space) = Space::new() else { return };
    let probe =
        "livenessProbe: {exec: {command: [test, -f, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1},";
    let script =
        r#"["sh", "-c", "touch /tmp/alive; trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]"#;
    space.pod("p", script, probe, "");
    space.wait_pod("p");
    let uid = space.value("pod/p", "{.metadata.uid}");
    space.exec("p", "rm /tmp/alive");
    space.wait("it was started again", || {
        space.value("pod/p", "{.status.containerStatuses[0].restartCount}").parse().unwrap_or(0) >= 1
    });
    space.wait_pod("p");
    assert_eq!(space.value("pod/p", "{.metadata.uid}"), uid);
}

#[test]
fn two_pods_cannot_have_one_port_of_the_host() {
    let Some(space) = Space::new() else { return };
    let ports = "ports: [{containerPort: 80, hostPort: 38127}],";
    space.pod("first", IDLE, ports, "");
    space.wait_pod("first");
    space.pod("second", IDLE, ports, "");
    let message = "{.status.conditions[?(@.type=='PodScheduled')].message}";
    space.wait("it is refused", || {
        space.value("pod/second", message).contains("didn't have free ports for the requested pod ports")
    });
    space.run(&["delete", "pod", "first"]);
    space.wait_pod("second");
}

#[test]
fn a_namespace_goes_with_all_it_holds() {
    let Some(space) = Space::new() else { return };
    space.apply(&crate::sets::set("w", 1, crate::sets::CLAIM, crate::sets::MOUNT));
    space.run(&["create", "configmap", "c"]);
    space.wait_ready("w", 1);
    let volume = format!("pv/{}", space.value("pvc/data-w-0", "{.spec.volumeName}"));
    space.run(&["delete", "namespace", &space.name]);
    space.wait_gone(&format!("namespace/{}", space.name));
    space.wait_gone(&volume);
    assert_eq!(space.names("pods,statefulsets,pvc,configmaps"), [""; 0]);
}
