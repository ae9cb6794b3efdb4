//! Budgets and evictions together: what is refused, and that no disruption is spent twice.

use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use model::status::Status;
use serde_json::{Value, json};

use crate::world::{Cluster, owned_by};

/// A cluster with the disruption controller, and a set whose pods a test makes.
async fn cluster() -> (Cluster, std::sync::Arc<StatefulSet>) {
    let mut cluster = Cluster::start().await;
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::disruption::run(client, clock, ready, stop));
    let set = cluster
        .create::<StatefulSet>(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 3, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "app:v1"}]},
                },
            },
        }))
        .await;
    (cluster, set)
}

async fn replica(cluster: &Cluster, set: &StatefulSet, name: &str, is_ready: bool) {
    let mut owner = owned_by(set, true);
    owner["controller"] = true.into();
    cluster
        .create::<Pod>(json!({
            "metadata": {
                "name": name, "namespace": "default", "labels": {"app": "web"}, "ownerReferences": [owner],
            },
            "spec": {"containers": [{"name": "app", "image": "app:v1"}], "nodeName": "node-a"},
        }))
        .await;
    cluster.pod_runs(name, "10.0.0.1", is_ready).await;
}

async fn budget(cluster: &Cluster, name: &str, bound: Value) {
    let mut spec = bound;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    let metadata = json!({"name": name, "namespace": "default"});
    cluster.create::<PodDisruptionBudget>(json!({"metadata": metadata, "spec": spec})).await;
}

async fn until(cluster: &Cluster, what: &str, is_so: impl Fn(&PodDisruptionBudgetStatus) -> bool) {
    cluster
        .until::<PodDisruptionBudget>(what, |budgets| {
            let status = budgets.get("default/web").and_then(|budget| budget.status.as_ref());
            status.is_some_and(|status| status.observed_generation.is_some() && is_so(status))
        })
        .await;
}

fn allowed(number: i32) -> impl Fn(&PodDisruptionBudgetStatus) -> bool {
    move |status| status.disruptions_allowed == Some(number)
}

async fn evict(cluster: &Cluster, pod: &str, options: Value) -> Result<(), Status> {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"},
        "deleteOptions": options,
    });
    cluster.client.post::<Pod>("default", pod, "eviction", eviction).await
}

fn cause(status: &Status) -> (u16, &str, &str) {
    let cause = status.details.causes.first().expect("has a cause");
    (status.code(), cause.reason.as_str(), cause.message.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_evictions_at_once_exactly_one_spends_the_only_disruption() {
    let (cluster, set) = cluster().await;
    for index in 0..8 {
        replica(&cluster, &set, &format!("web-{index}"), true).await;
    }
    budget(&cluster, "web", json!({"minAvailable": 7})).await;
    until(&cluster, "one may go", allowed(1)).await;
    let names: Vec<String> = (0..8).map(|index| format!("web-{index}")).collect();
    let evictions = join_all(names.iter().map(|name| evict(&cluster, name, json!({})))).await;
    let (done, refused): (Vec<_>, Vec<_>) = evictions.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 7));
    for status in refused.into_iter().filter_map(Result::err) {
        assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
        let (code, reason, text) = cause(&status);
        assert_eq!((code, reason, status.details.retry_after_seconds), (429, "DisruptionBudget", 0));
        assert!(text.starts_with("The disruption budget web needs 7 healthy pods and has "), "{text}");
    }
    let pods = cluster.list::<Pod>().await;
    let going: Vec<_> = pods.values().filter(|pod| pod.metadata.deletion_timestamp.is_some()).collect();
    let [pod] = going.as_slice() else { panic!("{} are going", going.len()) };
    let condition = model::pod::condition(pod, "DisruptionTarget").expect("says why");
    assert_eq!(condition.reason.as_deref(), Some("EvictionByEvictionAPI"));
    until(&cluster, "its end was seen", |status| {
        status.disrupted_pods.as_ref().is_none_or(|pods| pods.is_empty())
            && status.current_healthy == Some(7)
            && status.disruptions_allowed == Some(0)
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_replica_may_go_when_the_one_before_is_back() {
    let (cluster, set) = cluster().await;
    for name in ["web-0", "web-1", "web-2"] {
        replica(&cluster, &set, name, true).await;
    }
    budget(&cluster, "web", json!({"maxUnavailable": 1})).await;
    until(&cluster, "one may go", allowed(1)).await;
    evict(&cluster, "web-2", json!({"gracePeriodSeconds": 0})).await.expect("is allowed");
    let status = evict(&cluster, "web-1", json!({})).await.expect_err("is one too many");
    assert_eq!(status.code(), 429);
    replica(&cluster, &set, "web-2", false).await;
    until(&cluster, "two are healthy", |status| status.current_healthy == Some(2)).await;
    let status = evict(&cluster, "web-1", json!({})).await.expect_err("is one too many");
    assert_eq!(cause(&status).2, "The disruption budget web needs 2 healthy pods and has 2 currently");
    // It is not ready and nobody counts on it.
    evict(&cluster, "web-2", json!({"gracePeriodSeconds": 0})).await.expect("costs nothing");
    replica(&cluster, &set, "web-2", true).await;
    // The name was charged in this very second: the new pod is taken for the old one until that has passed.
    cluster.clock.skip(121);
    let poke = json!({"metadata": {"labels": {"looked": "again"}}});
    cluster.patch::<PodDisruptionBudget>("web", "", poke).await;
    until(&cluster, "one may go again", allowed(1)).await;
    evict(&cluster, "web-1", json!({})).await.expect("is allowed");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_eviction_that_does_not_happen_spends_nothing() {
    let (cluster, set) = cluster().await;
    for name in ["web-0", "web-1", "web-2"] {
        replica(&cluster, &set, name, true).await;
    }
    budget(&cluster, "web", json!({"maxUnavailable": 1})).await;
    until(&cluster, "one may go", allowed(1)).await;
    evict(&cluster, "web-0", json!({"dryRun": ["All"]})).await.expect("would be allowed");
    let other = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    assert_eq!(evict(&cluster, "web-0", other).await.expect_err("is another pod").code(), 409);
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(evict(&cluster, "web-0", stale).await.expect_err("is another version").code(), 409);
    assert_eq!(evict(&cluster, "web-9", json!({})).await.expect_err("is not there").code(), 404);
    budget(&cluster, "too", json!({"minAvailable": 0})).await;
    let status = evict(&cluster, "web-0", json!({})).await.expect_err("has two budgets");
    let text =
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((status.code(), status.message.as_str()), (500, text));
    let budget = cluster.client.get::<PodDisruptionBudget>("default", "web").await.expect("is there");
    let status = budget.status.clone().unwrap_or_default();
    assert_eq!((status.disruptions_allowed, status.disrupted_pods), (Some(1), None));
    let pods = cluster.list::<Pod>().await;
    assert!(pods.values().all(|pod| pod.metadata.deletion_timestamp.is_none()));
    cluster.stop().await;
}
