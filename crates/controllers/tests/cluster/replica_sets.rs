//! ReplicaSets with the real API.

use client::Propagation;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use crate::world::{Cluster, Found};

pub(crate) fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
    })
}

fn set(name: &str, replicas: i32) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template(),
        },
    })
}

fn lives(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

fn living(pods: &Found<Pod>) -> usize {
    pods.values().filter(|pod| lives(pod)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_has_as_many_pods_as_it_wants_whatever_happens_to_them() {
    let mut cluster = Cluster::start().await;
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::replica_set::run(client, clock, ready, stop));
    cluster.run_garbage_collector();
    cluster.pod("orphan", json!({ "app": "web" })).await;
    cluster.create::<ReplicaSet>(set("web", 3)).await;
    let pods = cluster.until::<Pod>("three pods", |pods| living(pods) == 3).await;
    let adopted = &pods["default/orphan"].metadata.owner_references;
    assert_eq!(adopted.iter().flatten().count(), 1, "{adopted:?}");
    let made: Vec<&String> = pods.keys().filter(|name| name.starts_with("default/web-")).collect();
    assert_eq!(made.len(), 2);
    assert!(made.iter().all(|name| name.len() == "default/web-".len() + 5), "{made:?}");
    let name = made[0].trim_start_matches("default/").to_owned();
    cluster.pod_runs(&name, "10.0.0.1", true).await;
    let counts = |set: &ReplicaSet| {
        let status = set.status.clone().unwrap_or_default();
        (status.replicas, status.ready_replicas, status.fully_labeled_replicas, status.terminating_replicas)
    };
    cluster
        .until::<ReplicaSet>("its status", |sets| {
            counts(&sets["default/web"]) == (3, Some(1), Some(3), Some(0))
        })
        .await;
    cluster.delete::<Pod>("default", &name, Propagation::Background).await;
    cluster
        .until::<Pod>("another pod", |pods| {
            living(pods) == 3 && pods.values().all(|pod| !is(pod, &name) || !lives(pod))
        })
        .await;
    let out = json!({ "metadata": { "labels": { "app": "debugged" } } });
    cluster.patch::<Pod>("orphan", "", out).await;
    let pods = cluster
        .until::<Pod>("the one that left is let go and replaced", |pods| {
            pods["default/orphan"].metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
                && living(pods) == 4
        })
        .await;
    assert!(pods.contains_key("default/orphan"));
    cluster.patch::<ReplicaSet>("web", "", json!({ "spec": { "replicas": 1 } })).await;
    cluster.until::<Pod>("one pod and the one that left", |pods| living(pods) == 2).await;
    cluster
        .until::<Event>("what was done is told", |events| {
            let told = |reason: &str, message: &str| {
                events.values().any(|event| {
                    event.reason.as_deref() == Some(reason)
                        && event.message.as_ref().is_some_and(|text| text.starts_with(message))
                })
            };
            told("SuccessfulCreate", "Created pod: web-") && told("SuccessfulDelete", "Deleted pod: web-")
        })
        .await;
    cluster.delete::<ReplicaSet>("default", "web", Propagation::Background).await;
    cluster.until::<Pod>("only the one that left", |pods| living(pods) == 1).await;
    cluster.stop().await;
}

fn is(pod: &Pod, name: &str) -> bool {
    pod.metadata.name.as_deref() == Some(name)
}
