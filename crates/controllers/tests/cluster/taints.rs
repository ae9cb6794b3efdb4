//! Taints that make pods go.

use client::PatchKind;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::{Value, json};

use crate::world::{Cluster, Found};

async fn taint(cluster: &Cluster, taints: Value) {
    let patch = json!({ "spec": { "taints": taints } });
    let tainted = cluster.client.patch::<Node>("", "node-a", "", PatchKind::Merge, patch).await;
    tainted.expect("is patched");
}

async fn guest(cluster: &Cluster, name: &str, tolerations: Value) {
    cluster
        .create::<Pod>(json!({
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "containers": [{ "name": "app", "image": "app:v1" }],
                "nodeName": "node-a",
                "tolerations": tolerations,
            },
        }))
        .await;
}

fn goes(pods: &Found<Pod>, name: &str) -> bool {
    let pod = &pods[&format!("default/{name}")];
    let condition = model::pod::condition(pod, "DisruptionTarget");
    let told = condition
        .is_some_and(|one| one.status == "True" && one.reason.as_deref() == Some("DeletionByTaintManager"));
    assert_eq!(told, pod.metadata.deletion_timestamp.is_some() || told, "the condition comes first");
    told && pod.metadata.deletion_timestamp.is_some()
}

fn is_told(events: &Found<Event>, message: &str) -> bool {
    events.values().any(|event| {
        event.reason.as_deref() == Some("TaintManagerEviction") && event.message.as_deref() == Some(message)
    })
}

/// Waits until a pod that tolerates nothing has gone: all that was heard of before has been decided by then.
async fn everything_is_decided(cluster: &Cluster, witness: &str) {
    guest(cluster, witness, json!([])).await;
    cluster.until::<Pod>("who tolerates nothing goes", |pods| goes(pods, witness)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_leave_a_tainted_node_when_their_time_is_over_and_stay_when_the_taint_goes() {
    let mut cluster = Cluster::start().await;
    cluster.create::<Node>(json!({ "metadata": { "name": "node-a" } })).await;
    let tolerates = json!({ "key": "bad", "operator": "Exists", "effect": "NoExecute" });
    let mut bounded = tolerates.clone();
    bounded["tolerationSeconds"] = 1000.into();
    guest(&cluster, "brief", json!([bounded])).await;
    guest(&cluster, "loyal", json!([tolerates])).await;
    let (client, clock, synced, stop) = cluster.inputs();
    cluster.run(controllers::taint_eviction::run(client, clock, synced, stop));
    let bad = json!([{ "key": "bad", "value": "yes", "effect": "NoExecute" }]);
    let stays = |pods: &Found<Pod>, name: &str| {
        assert!(pods[&format!("default/{name}")].metadata.deletion_timestamp.is_none(), "{name} stays");
    };

    // A taint that goes in time spares everybody.
    taint(&cluster, bad.clone()).await;
    everything_is_decided(&cluster, "witness-1").await;
    cluster.clock.skip(600);
    taint(&cluster, json!([])).await;
    let spared = "Cancelling deletion of Pod default/brief";
    cluster.until::<Event>(spared, |events| is_told(events, spared)).await;

    // One that comes back gives the whole time again, and no more.
    cluster.clock.skip(600);
    taint(&cluster, bad).await;
    everything_is_decided(&cluster, "witness-2").await;
    let touch = |round: u32| {
        let label = json!({ "metadata": { "labels": { "round": round.to_string() } } });
        cluster.patch::<Pod>("brief", "", label)
    };
    cluster.clock.skip(600);
    touch(1).await;
    everything_is_decided(&cluster, "witness-3").await;
    stays(&cluster.list::<Pod>().await, "brief");
    cluster.clock.skip(600);
    touch(2).await;
    cluster.until::<Pod>("its time is over", |pods| goes(pods, "brief")).await;
    let marked = "Marking for deletion Pod default/brief";
    cluster.until::<Event>(marked, |events| is_told(events, marked)).await;
    stays(&cluster.list::<Pod>().await, "loyal");
    cluster.stop().await;
}
