//! DaemonSets with the real API: nodes that come and go, an update with its revisions.

use client::Propagation;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::deployments::run_pods;
use crate::replica_sets::template;
use crate::world::{Cluster, Found};

async fn node(cluster: &Cluster, name: &str) {
    cluster.create::<Node>(json!({ "metadata": { "name": name } })).await;
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } } })
}

/// True when the rollout is complete, as `kubectl rollout status` sees it.
fn is_rolled_out(found: &Found<DaemonSet>, nodes: i32) -> bool {
    let Some(set) = found.get("default/log") else { return false };
    let status = set.status.clone().unwrap_or_default();
    status.observed_generation == set.metadata.generation
        && status.desired_number_scheduled == nodes
        && status.updated_number_scheduled == Some(nodes)
        && status.number_available == Some(nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_follows_the_nodes_and_rolls_out_and_back() {
    let mut cluster = Cluster::start().await;
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::daemon_set::run(client, clock, ready, stop));
    cluster.run_garbage_collector();
    let runs = run_pods(&cluster);
    node(&cluster, "a").await;
    node(&cluster, "b").await;
    let set = json!({
        "metadata": { "name": "log", "namespace": "default" },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": template() },
    });
    cluster.create::<DaemonSet>(set).await;
    cluster.until::<DaemonSet>("both nodes have a pod", |sets| is_rolled_out(sets, 2)).await;
    node(&cluster, "c").await;
    cluster.until::<DaemonSet>("the third has one too", |sets| is_rolled_out(sets, 3)).await;
    cluster.patch::<DaemonSet>("log", "", image("app:v2")).await;
    cluster.until::<DaemonSet>("the new template is everywhere", |sets| is_rolled_out(sets, 3)).await;
    let pods = cluster.until::<Pod>("only three pods are left", |pods| pods.len() == 3).await;
    let images: Vec<_> =
        pods.values().filter_map(|pod| pod.spec.as_ref()?.containers[0].image.as_deref()).collect();
    assert_eq!(images, ["app:v2"; 3]);
    cluster.patch::<DaemonSet>("log", "", image("app:v1")).await;
    cluster.until::<DaemonSet>("the first template is back", |sets| is_rolled_out(sets, 3)).await;
    let revisions = cluster.list::<ControllerRevision>().await;
    let mut numbers: Vec<_> = revisions.values().filter_map(|one| one.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "the first revision is the newest again");
    cluster.delete::<Node>("", "c", Propagation::Background).await;
    cluster.until::<DaemonSet>("two are wanted", |sets| is_rolled_out(sets, 2)).await;
    runs.abort();
    cluster.delete::<DaemonSet>("default", "log", Propagation::Background).await;
    cluster.until::<Pod>("all pods go with it", |pods| pods.is_empty()).await;
    cluster.until::<ControllerRevision>("and all revisions", |all| all.is_empty()).await;
    cluster.stop().await;
}
