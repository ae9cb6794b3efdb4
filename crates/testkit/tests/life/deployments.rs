//! Deployments as a user sees them: kubectl makes them, rolls them out and back, scales and removes them.

use crate::space::{IDLE, Space};

fn deployment(name: &str, replicas: usize) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: {replicas}, \
         selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, \
         spec: {{terminationGracePeriodSeconds: 5, containers: [{{name: c, image: busybox, \
         command: {IDLE}}}]}}}}}}}}"
    )
}

/// The revision that each of the pods shows in its environment.
fn change(space: &Space, value: &str) {
    let container = format!(r#"{{"name":"c","env":[{{"name":"REVISION","value":"{value}"}}]}}"#);
    let patch = format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{container}]}}}}}}}}"#);
    space.run(&["patch", "deployment", "w", "-p", &patch]);
}

fn rolled_out(space: &Space) {
    let printed = space.run(&["rollout", "status", "deployment/w", "--timeout=60s"]);
    assert!(printed.contains("deployment \"w\" successfully rolled out"), "{printed}");
}

/// The first word of each line below a heading.
fn first_words(text: &str, skipped: usize) -> Vec<&str> {
    text.lines().skip(skipped).filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn a_deployment_rolls_out_and_back_scales_and_takes_its_pods_along() {
    let Some(space) = Space::new() else { return };
    space.apply(&deployment("w", 2));
    rolled_out(&space);
    space.run(&["wait", "--for=condition=Available", "deployment/w", "--timeout=60s"]);
    let sets = space.names("replicasets");
    let pods = space.names("pods");
    assert_eq!((sets.len(), pods.len()), (1, 2));
    assert!(pods.iter().all(|pod| pod.starts_with(&format!("{}-", sets[0]))), "{pods:?} of {sets:?}");
    change(&space, "two");
    rolled_out(&space);
    let environment = "{.items[*].spec.containers[0].env[0].value}";
    assert_eq!(space.names("replicasets").len(), 2);
    space.wait("only new pods are there", || {
        space.run(&["get", "pods", "-o", &format!("jsonpath={environment}")]) == "two two"
    });
    let history = space.run(&["rollout", "history", "deployment/w"]);
    assert_eq!(first_words(&history, 2), ["1", "2"], "{history}");
    space.run(&["rollout", "undo", "deployment/w"]);
    rolled_out(&space);
    let history = space.run(&["rollout", "history", "deployment/w"]);
    assert_eq!(first_words(&history, 2), ["2", "3"], "{history}");
    assert_eq!(space.value(&format!("replicaset/{}", sets[0]), "{.spec.replicas}"), "2");
    space.run(&["rollout", "restart", "deployment/w"]);
    rolled_out(&space);
    assert_eq!(space.names("replicasets").len(), 3);
    space.run(&["rollout", "pause", "deployment/w"]);
    space.run(&["scale", "deployment", "w", "--replicas=3"]);
    space.wait_value("deployment/w", "{.status.availableReplicas}", "3");
    space.run(&["rollout", "resume", "deployment/w"]);
    rolled_out(&space);
    let table = space.run(&["get", "deployment", "w", "--no-headers"]);
    let cells: Vec<&str> = table.split_whitespace().take(4).collect();
    assert_eq!(cells, ["w", "3/3", "3", "3"]);
    let events = space.run(&["get", "events", "--field-selector", "reason=ScalingReplicaSet"]);
    assert!(events.contains(&format!("Scaled up replica set {} from 0 to 2", sets[0])), "{events}");
    space.run(&["delete", "deployment", "w", "--wait=false"]);
    space.wait("nothing is left", || space.names("replicasets").is_empty() && space.names("pods").is_empty());
}

#[test]
fn kubectl_creates_a_deployment_and_exposes_describes_and_sets_the_image_of_it() {
    let Some(space) = Space::new() else { return };
    let create = ["create", "deployment", "w", "--image=busybox", "--replicas=1", "--", "sleep", "1000"];
    space.run(&create);
    rolled_out(&space);
    let described = space.run(&["describe", "deployment", "w"]);
    for part in ["NewReplicaSetAvailable", "MinimumReplicasAvailable", "25% max unavailable, 25% max surge"] {
        assert!(described.contains(part), "{part} in {described}");
    }
    space.run(&["set", "image", "deployment/w", "busybox=busybox:missing"]);
    space.wait_value("deployment/w", "{.status.unavailableReplicas}", "1");
    let (available, updated) = ("{.status.availableReplicas}", "{.status.updatedReplicas}");
    assert_eq!(space.value("deployment/w", available), "1", "the old pod stays until the new one is there");
    space.wait_value("deployment/w", updated, "1");
    space.run(&["rollout", "undo", "deployment/w"]);
    rolled_out(&space);
    let strategy = r#"{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}"#;
    space.run(&["patch", "deployment", "w", "-p", strategy]);
    assert_eq!(space.value("deployment/w", "{.spec.strategy}"), r#"{"type":"Recreate"}"#);
    space.run(&["delete", "deployment", "w", "--cascade=foreground", "--timeout=60s"]);
    assert!(space.names("pods").is_empty() && space.names("replicasets").is_empty());
}
