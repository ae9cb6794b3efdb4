//! StatefulSets as a user sees them: order, identity, claims, deletion.

use crate::space::{IDLE, Space};

/// A set of idle pods; `spec` and `container` are more fields of the set and of its container.
pub(crate) fn set(name: &str, replicas: usize, spec: &str, container: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: {name}}}, spec: {{serviceName: {name}, \
         replicas: {replicas}, selector: {{matchLabels: {{app: {name}}}}}, {spec} template: {{metadata: \
         {{labels: {{app: {name}}}}}, spec: {{terminationGracePeriodSeconds: 5, containers: [{{name: c, \
         image: busybox, {container} command: {IDLE}}}]}}}}}}}}"
    )
}

/// A claim for each pod, seen at `/data`.
pub(crate) const CLAIM: &str = "volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: \
                                [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}],";
/// Where the container sees it.
pub(crate) const MOUNT: &str = "volumeMounts: [{name: data, mountPath: /data}],";
/// Ready when the test says so.
const GATE: &str = "readinessProbe: {exec: {command: [test, -f, /tmp/ready]}, periodSeconds: 1},";

#[test]
fn each_replica_starts_only_when_the_one_before_is_ready() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 3, "", GATE));
    let pods = ["w-0", "w-1", "w-2"];
    for (index, pod) in pods.into_iter().enumerate() {
        space.wait_value(&format!("pod/{pod}"), "{.status.phase}", "Running");
        let field = format!("involvedObject.name={pod},reason=Unhealthy");
        let reasons = ["get", "events", "--field-selector", &field, "-o", "name"];
        space.wait("its readiness was refused", || !space.run(&reasons).is_empty());
        assert_eq!(space.names("pods"), pods[..=index], "{pod} is not ready yet");
        space.exec(pod, "touch /tmp/ready");
    }
    space.wait_ready("w", 3);
}

#[test]
fn a_replaced_pod_has_its_name_its_claim_and_its_data() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 1, CLAIM, MOUNT));
    space.wait_ready("w", 1);
    let (pod, claim) = ("pod/w-0", "pvc/data-w-0");
    space.exec("w-0", "echo precious > /data/file; sync");
    let pod_before = space.value(pod, "{.metadata.uid}");
    let claim_before = space.value(claim, "{.metadata.uid} {.spec.volumeName} {.status.phase}");
    assert!(claim_before.ends_with(" Bound"), "{claim_before}");
    space.run(&["delete", pod]);
    space.wait("another pod of the name is there", || {
        let uid = space.value(pod, "{.metadata.uid}");
        !uid.is_empty() && uid != pod_before
    });
    space.wait_pod("w-0");
    assert_eq!(space.exec("w-0", "cat /data/file; hostname"), "precious\nw-0");
    assert_eq!(space.value(claim, "{.metadata.uid} {.spec.volumeName} {.status.phase}"), claim_before);
}

#[test]
fn scaling_down_goes_in_reverse_and_scaling_up_finds_the_claims_again() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 3, CLAIM, MOUNT));
    space.wait_ready("w", 3);
    space.exec("w-2", "echo two > /data/file");
    let follower = space.follow_pods();
    follower.until(|words| words.starts_with(&["ADDED", "w-2"]));
    space.run(&["scale", "statefulset", "w", "--replicas=1"]);
    let seen = follower.until(|words| words.starts_with(&["DELETED", "w-1"]));
    let deleted: Vec<_> = seen.iter().filter(|words| words[0] == "DELETED").collect();
    assert!(matches!(deleted.as_slice(), [words] if words[1] == "w-2"), "{seen:?}");
    space.wait_ready("w", 1);
    assert_eq!(space.names("pvc"), ["data-w-0", "data-w-1", "data-w-2"]);
    space.run(&["scale", "statefulset", "w", "--replicas=3"]);
    space.wait_ready("w", 3);
    assert_eq!(space.exec("w-2", "cat /data/file"), "two");
}

#[test]
fn claims_go_with_replicas_and_set_where_the_retention_policy_says_delete() {
    let Some(space) = Space::new() else { return };
    let policy = "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Delete},";
    space.apply(&set("w", 2, &format!("{policy} {CLAIM}"), MOUNT));
    space.wait_ready("w", 2);
    let volumes: Vec<String> = ["pvc/data-w-0", "pvc/data-w-1"]
        .iter()
        .map(|claim| space.value(claim, "{.spec.volumeName}"))
        .collect();
    space.run(&["scale", "statefulset", "w", "--replicas=1"]);
    space.wait_gone("pvc/data-w-1");
    assert_eq!(space.names("pvc"), ["data-w-0"]);
    space.run(&["delete", "statefulset", "w"]);
    space.wait_gone("pvc/data-w-0");
    for volume in volumes {
        assert!(volume.starts_with("pvc-"), "{volume}");
        space.wait_gone(&format!("pv/{volume}"));
    }
}

#[test]
fn foreground_deletion_is_over_when_the_pods_are_gone() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 2, CLAIM, MOUNT));
    space.wait_ready("w", 2);
    space.run(&["delete", "statefulset", "w", "--cascade=foreground"]);
    assert_eq!(space.names("pods"), [""; 0]);
    assert_eq!(space.names("pvc"), ["data-w-0", "data-w-1"], "claims stay");
}

#[test]
fn orphaned_pods_are_adopted_by_the_next_set_of_the_name() {
    let Some(space) = Space::new() else { return };
    space.apply(&set("w", 2, "", ""));
    space.wait_ready("w", 2);
    let identities = || space.run(&["get", "pods", "-o", "jsonpath={.items[*].metadata.uid}"]);
    let before = identities();
    space.run(&["delete", "statefulset", "w", "--cascade=orphan"]);
    space.wait_gone("statefulset/w");
    assert_eq!(space.value("pods", "{.items[*].metadata.ownerReferences}"), "", "nobody owns them");
    assert_eq!(identities(), before);
    space.apply(&set("w", 2, "", ""));
    space.wait_ready("w", 2);
    let set = space.value("statefulset/w", "{.metadata.uid}");
    for pod in ["pod/w-0", "pod/w-1"] {
        space.wait_value(pod, "{.metadata.ownerReferences[*].uid}", &set);
    }
    assert_eq!(identities(), before, "no container was disturbed");
}
