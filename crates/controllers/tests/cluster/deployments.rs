//! Deployments and their ReplicaSets with the real API.

use std::sync::Arc;

use client::{Change, Propagation, Scope, reflect};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::replica_sets::template;
use crate::world::{Cluster, Found};

/// Makes every pod ready as soon as it is there.
pub(crate) fn run_pods(cluster: &Cluster) -> AbortHandle {
    let client = cluster.client.clone();
    let task = tokio::spawn(async move {
        let mut changes = reflect::<Pod>(client.clone(), Scope::default());
        while let Some(change) = changes.next().await {
            let pods = match change {
                Change::Reset(pods, _) => pods,
                Change::Apply(pod) => vec![pod],
                Change::Delete(_) => vec![],
            };
            for pod in pods.iter().filter(|pod| !model::pod::is_ready(pod)) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let status = json!({ "status": {
                    "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
                }});
                let kind = client::PatchKind::Merge;
                // It may be gone already.
                let _ = client.patch::<Pod>("default", name, "status", kind, status).await;
            }
        }
    });
    task.abort_handle()
}

fn start(cluster: &mut Cluster) {
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::replica_set::run(client, clock, ready, stop));
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::deployment::run(client, clock, ready, stop));
    cluster.run_garbage_collector();
}

fn deployment(replicas: i32) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template(),
        },
    })
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } } })
}

/// True when the rollout is complete, as `kubectl rollout status` sees it.
fn is_rolled_out(found: &Found<Deployment>, wanted: i32) -> bool {
    let Some(one) = found.get("default/web") else { return false };
    let status = one.status.clone().unwrap_or_default();
    let all = [status.replicas, status.updated_replicas, status.available_replicas];
    status.observed_generation == one.metadata.generation && all.iter().all(|count| *count == Some(wanted))
}

fn revision(set: &ReplicaSet) -> &str {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get("deployment.kubernetes.io/revision")).map_or("", String::as_str)
}

fn sizes(sets: &Found<ReplicaSet>) -> Vec<(String, i32)> {
    let mut sizes: Vec<_> = sets
        .values()
        .map(|set: &Arc<ReplicaSet>| (revision(set).to_owned(), set.spec.replicas.unwrap_or_default()))
        .collect();
    sizes.sort();
    sizes
}

fn pairs(expected: &[(&str, i32)]) -> Vec<(String, i32)> {
    expected.iter().map(|(revision, size)| ((*revision).to_owned(), *size)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_and_back_scales_and_takes_everything_along_when_it_goes() {
    let mut cluster = Cluster::start().await;
    start(&mut cluster);
    let pods = run_pods(&cluster);
    cluster.create::<Deployment>(deployment(3)).await;
    cluster.until::<Deployment>("three replicas", |all| is_rolled_out(all, 3)).await;
    cluster.patch::<Deployment>("web", "", image("app:v2")).await;
    cluster.until::<ReplicaSet>("the new set", |sets| sizes(sets) == pairs(&[("1", 0), ("2", 3)])).await;
    let all = cluster.until::<Deployment>("the new template", |all| is_rolled_out(all, 3)).await;
    let annotations = all["default/web"].metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "2");
    cluster.patch::<Deployment>("web", "", image("app:v1")).await;
    cluster
        .until::<ReplicaSet>("the first set again", |sets| sizes(sets) == pairs(&[("2", 0), ("3", 3)]))
        .await;
    cluster.until::<Deployment>("the first template", |all| is_rolled_out(all, 3)).await;
    cluster.patch::<Deployment>("web", "", json!({ "spec": { "replicas": 5 } })).await;
    let all = cluster.until::<Deployment>("five replicas", |all| is_rolled_out(all, 5)).await;
    let conditions = all["default/web"].status.clone().and_then(|status| status.conditions);
    let reasons = conditions.iter().flatten().filter_map(|one| one.reason.clone());
    let mut reasons: Vec<String> = reasons.collect();
    reasons.sort();
    assert_eq!(reasons, ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]);
    cluster
        .until::<Event>("what was scaled is told", |events| {
            let told = |end: &str| {
                let messages = events.values().filter_map(|event| event.message.as_ref());
                let mut messages = messages.filter(|text| text.starts_with("Scaled up replica set web-"));
                messages.any(|text| text.ends_with(end))
            };
            told("from 0 to 3")
        })
        .await;
    cluster.delete::<Deployment>("default", "web", Propagation::Background).await;
    cluster.until::<ReplicaSet>("no set", Found::is_empty).await;
    cluster
        .until::<Pod>("no pod", |pods| pods.values().all(|pod| pod.metadata.deletion_timestamp.is_some()))
        .await;
    pods.abort();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreation_has_no_two_templates_at_once_and_a_pause_holds_a_rollout() {
    let mut cluster = Cluster::start().await;
    start(&mut cluster);
    let pods = run_pods(&cluster);
    let mut recreated = deployment(2);
    recreated["spec"]["strategy"] = json!({ "type": "Recreate" });
    cluster.create::<Deployment>(recreated).await;
    cluster.until::<Deployment>("two replicas", |all| is_rolled_out(all, 2)).await;
    let mut paused = image("app:v2");
    paused["spec"]["paused"] = true.into();
    cluster.patch::<Deployment>("web", "", paused).await;
    cluster
        .until::<Deployment>("it says that it is paused", |all| {
            let conditions = all["default/web"].status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|one| one.reason.as_deref() == Some("DeploymentPaused"))
        })
        .await;
    assert_eq!(sizes(&cluster.list::<ReplicaSet>().await), pairs(&[("1", 2)]));
    cluster.patch::<Deployment>("web", "", json!({ "spec": { "paused": false } })).await;
    let images = |pods: &Found<Pod>| {
        let living = pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let containers = living.filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.clone());
        let mut images: Vec<String> = containers.collect();
        images.sort();
        images
    };
    cluster
        .until::<Pod>("the new template alone", |pods| {
            let images = images(pods);
            assert!(!images.contains(&"app:v1".to_owned()) || !images.contains(&"app:v2".to_owned()));
            images == ["app:v2", "app:v2"]
        })
        .await;
    pods.abort();
    cluster.stop().await;
}
