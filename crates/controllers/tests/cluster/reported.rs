//! What broke in Kubernetes and was reported there, as far as it takes an API to show; see also
//! `statefulset/tests/reported.rs` among the sources.

use client::Propagation;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::Cluster;

fn set(name: &str, claim: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "serviceName": "web",
            "replicas": 1,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": claim },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }],
        },
    })
}

async fn refusal(cluster: &Cluster, set: Value) -> String {
    let set: StatefulSet = serde_json::from_value(set).expect("is a set");
    cluster.client.create(&set).await.expect_err("is refused").to_string()
}

/// A name of more than 52 characters was taken, and then no pod could be made: its label with the revision's
/// name was too long. Nothing but an event for each try told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k64023_a_name_that_is_too_long_for_its_pods_is_refused() {
    let cluster = Cluster::start().await;
    let message = refusal(&cluster, set(&"a".repeat(53), "data")).await;
    assert!(message.contains("metadata.name") && message.contains("no more than 52 characters"), "{message}");
    cluster.create::<StatefulSet>(set(&"a".repeat(52), "data")).await;
    cluster.stop().await;
}

/// The claims of `c` from the template `a-b` are called as those of `b-c` from `a`: the second set ran on the
/// first one's data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k41153_two_sets_whose_claims_would_be_called_the_same_are_not_both_taken() {
    let cluster = Cluster::start().await;
    cluster.create::<StatefulSet>(set("b-c", "a")).await;
    let message = refusal(&cluster, set("c", "a-b")).await;
    assert!(message.contains("would share volumes"), "{message}");
    cluster.delete::<StatefulSet>("default", "b-c", Propagation::Background).await;
    cluster.create::<StatefulSet>(set("c", "a-b")).await;
    cluster.stop().await;
}

/// A controller that was started again recorded the template again and again, and then restarted pods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k56355_a_controller_that_is_started_again_makes_no_second_revision() {
    let mut cluster = Cluster::start().await;
    cluster.create::<StatefulSet>(set("web", "data")).await;
    let mut uids = Vec::new();
    for replicas in 1..=3 {
        let (client, clock, ready, _) = cluster.inputs();
        let stop = CancellationToken::new();
        cluster.run(controllers::statefulset::run(client, clock, ready, stop.clone()));
        cluster.patch::<StatefulSet>("web", "", json!({ "spec": { "replicas": replicas } })).await;
        let last = format!("default/web-{}", replicas - 1);
        let pods = cluster.until::<Pod>("the next pod", |pods| pods.contains_key(&last)).await;
        uids.push(pods[&last].metadata.uid.clone());
        cluster.pod_runs(&format!("web-{}", replicas - 1), "10.0.0.1", true).await;
        let is_ready = |set: &StatefulSet| {
            set.status.as_ref().is_some_and(|status| status.ready_replicas == Some(replicas))
        };
        cluster.until::<StatefulSet>("it is ready", |sets| is_ready(&sets["default/web"])).await;
        stop.cancel();
    }
    let pods = cluster.list::<Pod>().await;
    assert_eq!(pods.values().map(|pod| pod.metadata.uid.clone()).collect::<Vec<_>>(), uids);
    assert_eq!(cluster.list::<ControllerRevision>().await.len(), 1);
    let sets = cluster.list::<StatefulSet>().await;
    let status = sets["default/web"].status.clone().unwrap_or_default();
    assert_eq!(status.collision_count, Some(0));
    cluster.stop().await;
}
