//! Draining a node whose pods have a disruption budget, as an operator does it.

use testkit::cluster::Cluster;

const BUDGET: &str = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: w}, spec: \
                      {maxUnavailable: 1, selector: {matchLabels: {app: w}}}}";

/// Uids of the pods of the set, and which of them are still there.
fn uids(cluster: &Cluster) -> Vec<String> {
    let path = "{range .items[*]}{.metadata.name}={.metadata.uid} {end}";
    cluster.value("pods", path).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn draining_the_node_takes_one_replica_and_waits_for_its_replacement() {
    let Some(mut cluster) = Cluster::native(&["busybox"]) else { return };
    let set = crate::sets::set("w", 3, "podManagementPolicy: Parallel,", "");
    cluster.apply(&format!("---\n{set}\n---\n{BUDGET}"));
    cluster.wait_ready("w", 3);
    cluster
        .wait_for("one pod may go", |cluster| cluster.value("pdb/w", "{.status.disruptionsAllowed}") == "1");
    let table = cluster.run(&["get", "pdb", "w", "--no-headers"]);
    assert_eq!(table.split_whitespace().collect::<Vec<_>>()[..4], ["w", "N/A", "1", "1"], "{table}");
    let before = uids(&cluster);
    let node = cluster.value("nodes", "{.items[0].metadata.name}");
    let drain = ["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=8s"];
    let drained = cluster.kubectl(&drain);
    assert!(!drained.success, "two of the three must stay: {}", drained.stdout);
    let refusal = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(drained.stderr.contains(refusal), "{}", drained.stderr);
    let stayed: Vec<String> = uids(&cluster).into_iter().filter(|pod| before.contains(pod)).collect();
    assert_eq!(stayed.len(), 2, "exactly one was evicted: {before:?} became {:?}", uids(&cluster));
    cluster.wait_for("the replacement has no place", |cluster| {
        cluster.value("pods", "{.items[?(@.status.phase=='Pending')].metadata.name}").starts_with("w-")
    });
    assert_eq!(cluster.value("pdb/w", "{.status.currentHealthy}/{.status.disruptionsAllowed}"), "2/0");
    cluster.run(&["uncordon", &node]);
    cluster.wait_ready("w", 3);
    cluster.wait_for("one pod may go again", |cluster| {
        cluster.value("pdb/w", "{.status.currentHealthy}/{.status.disruptionsAllowed}") == "3/1"
    });
    let after: Vec<String> = uids(&cluster).into_iter().filter(|pod| before.contains(pod)).collect();
    assert_eq!(after, stayed, "nobody else went");
    cluster.down();
}
