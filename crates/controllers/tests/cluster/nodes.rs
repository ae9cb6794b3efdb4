//! Nodes that fall silent.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod};
use serde_json::json;

use crate::world::{Cluster, DEADLINE, Found};

fn ready(nodes: &Found<Node>) -> Option<(String, String)> {
    let conditions = nodes.get("node-a")?.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((ready.status.clone(), ready.reason.clone().unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_lease_is_not_renewed_becomes_unknown_and_its_pods_not_ready() {
    let mut cluster = Cluster::start().await;
    if cluster.client.get::<Namespace>("", "kube-node-lease").await.is_err() {
        cluster.create::<Namespace>(json!({ "metadata": { "name": "kube-node-lease" } })).await;
    }
    cluster.create::<Node>(json!({ "metadata": { "name": "node-a" } })).await;
    let status = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z",
    }]}});
    let kind = client::PatchKind::Merge;
    cluster.client.patch::<Node>("", "node-a", "status", kind, status).await.expect("is patched");
    cluster
        .create::<Lease>(json!({
            "metadata": { "name": "node-a", "namespace": "kube-node-lease" },
            "spec": { "holderIdentity": "node-a", "renewTime": "2026-01-01T00:00:00.000000Z" },
        }))
        .await;
    cluster.pod("web-0", json!({ "app": "web" })).await;
    cluster.pod_runs("web-0", "10.0.0.1", true).await;
    let (client, clock, synced, stop) = cluster.inputs();
    cluster.run(controllers::node_lifecycle::run(client, clock, synced, stop));
    let touch = |round: u32| {
        let label = json!({ "metadata": { "labels": { "round": round.to_string() } } });
        cluster.client.patch::<Node>("", "node-a", "", kind, label)
    };
    // The first rounds may pass before the controller has seen the node at all.
    let becoming_unknown = async {
        for round in 0_u32.. {
            cluster.clock.skip(41);
            touch(round).await.expect("is patched");
            let nodes = cluster.list::<Node>().await;
            if ready(&nodes) == Some(("Unknown".to_owned(), "NodeStatusUnknown".to_owned())) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, becoming_unknown).await.expect("the node becomes unknown");
    let judged = |pods: &Found<Pod>| {
        let ready = pods.get("default/web-0").and_then(|pod| model::pod::condition(pod, "Ready"));
        ready.is_some_and(|one| one.status == "False" && one.reason.as_deref() == Some("NodeNotReady"))
    };
    cluster.until::<Pod>("its pod is not ready", judged).await;
    for expected in [
        "Node node-a event: Registered Node node-a in Controller",
        "Node node-a status is now: NodeNotReady",
        "Node is not ready",
    ] {
        let is_told =
            |events: &Found<Event>| events.values().any(|event| event.message.as_deref() == Some(expected));
        cluster.until::<Event>(expected, is_told).await;
    }
    cluster.stop().await;
}
