//! The StatefulSet controller against the real API in memory: what the pure tests cannot see, such as
//! strategic patches, preconditions, watches and the guard that keeps decisions behind their own writes.
//!
//! A task stands for the nodes: it makes pods ready and removes those whose deletion was asked for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::{Api, bootstrap};
use client::{Change, Client, DeleteOptions, PatchKind, Propagation, Scope, reflect};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use model::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for a condition; far more than any takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Goes on as real time does: the controller holds statuses back for a while, which must pass.
struct Running {
    from: Timestamp,
    since: Instant,
}

impl Clock for Running {
    fn now(&self) -> Timestamp {
        self.from + self.since.elapsed()
    }
}

struct Cluster {
    client: Client,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cluster {
    async fn start() -> Cluster {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("is a time");
        let clock: Arc<dyn Clock> = Arc::new(Running { from: now, since: Instant::now() });
        let api = Api::in_memory(Arc::clone(&clock));
        let client = Client::new(api.transport(), "test");
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        // The default namespace with its service account, without which no pod is made.
        bootstrap::ensure(&api, Ipv4Addr::LOCALHOST, 6443).await.expect("the cluster is made");
        tasks.spawn(controllers::statefulset::run(
            client.clone(),
            clock,
            CancellationToken::new(),
            stop.clone(),
        ));
        tasks.spawn(be_the_nodes(client.named("nodes")));
        Cluster { client, stop, tasks }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn create(&self, set: Value) -> Arc<StatefulSet> {
        let set: StatefulSet = serde_json::from_value(set).expect("is a set");
        self.client.create(&set).await.expect("the set is made")
    }

    async fn patch(&self, patch: Value) {
        let kind = PatchKind::StrategicMerge;
        self.client.patch::<StatefulSet>("default", "web", "", kind, patch).await.expect("is patched");
    }

    async fn pods(&self) -> BTreeMap<String, Arc<Pod>> {
        let (pods, _) = self.client.list::<Pod>(&Scope::default()).await.expect("pods are listed");
        pods.into_iter().map(|pod| (pod.metadata.name.clone().unwrap_or_default(), pod)).collect()
    }

    /// Waits until the set satisfies a condition.
    async fn until(&self, what: &str, is_so: impl Fn(&StatefulSet) -> bool) -> Arc<StatefulSet> {
        let mut sets = reflect::<StatefulSet>(self.client.clone(), Scope::default());
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                let sets = match sets.next().await.expect("it never ends") {
                    Change::Reset(sets, _) => sets,
                    Change::Apply(set) => vec![set],
                    Change::Delete(_) => Vec::new(),
                };
                if let Some(set) = sets.into_iter().find(|set| is_so(set)) {
                    return set;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("not within the deadline: {what}"))
    }

    async fn until_settled(&self) -> Arc<StatefulSet> {
        self.until("all replicas are updated and ready", |set| {
            let wanted = set.spec.replicas.unwrap_or(1);
            set.status.as_ref().is_some_and(|status| {
                status.observed_generation == set.metadata.generation
                    && status.replicas == wanted
                    && status.ready_replicas.unwrap_or_default() == wanted
                    && status.updated_replicas.unwrap_or_default() == wanted
            })
        })
        .await
    }
}

/// Makes pods ready, and removes those whose deletion was asked for.
async fn be_the_nodes(client: Client) {
    let mut pods = reflect::<Pod>(client.clone(), Scope::default());
    while let Some(change) = pods.next().await {
        let changed = match change {
            Change::Reset(pods, _) => pods,
            Change::Apply(pod) => vec![pod],
            Change::Delete(_) => Vec::new(),
        };
        for pod in changed {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
                let _ = client.delete::<Pod>("default", &name, options).await;
            } else if model::pod::phase(&pod) == "Pending" {
                let status = json!({ "status": {
                    "phase": "Running",
                    "conditions": [{ "type": "Ready", "status": "True" }],
                }});
                let kind = PatchKind::StrategicMerge;
                let _ = client.patch::<Pod>("default", &name, "status", kind, status).await;
            }
        }
    }
}

fn set(replicas: i32, policy: &str) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "serviceName": "web",
            "replicas": replicas,
            "podManagementPolicy": policy,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_set_is_made_updated_and_scaled_down_and_keeps_its_claims() {
    let cluster = Cluster::start().await;
    cluster.create(set(3, "OrderedReady")).await;
    let made = cluster.until_settled().await;
    let status = made.status.as_ref().expect("has a status");
    assert_eq!(status.current_revision, status.update_revision);
    let before = cluster.pods().await;
    assert_eq!(before.keys().collect::<Vec<_>>(), ["web-0", "web-1", "web-2"]);

    let image = json!([{ "name": "app", "image": "app:v2" }]);
    cluster.patch(json!({ "spec": { "template": { "spec": { "containers": image } } } })).await;
    let updated = cluster.until_settled().await;
    let after = cluster.pods().await;
    for (name, pod) in &after {
        assert_ne!(pod.metadata.uid, before[name].metadata.uid, "{name} was replaced");
    }
    assert_ne!(updated.status.as_ref().expect("has a status").update_revision, status.update_revision);
    let (revisions, _) =
        cluster.client.list::<ControllerRevision>(&Scope::default()).await.expect("are listed");
    assert_eq!(revisions.len(), 2);

    cluster.patch(json!({ "spec": { "replicas": 1 } })).await;
    cluster.until_settled().await;
    assert_eq!(cluster.pods().await.keys().collect::<Vec<_>>(), ["web-0"]);
    let (claims, _) =
        cluster.client.list::<PersistentVolumeClaim>(&Scope::default()).await.expect("are listed");
    assert_eq!(claims.len(), 3);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_released_when_its_label_changes_and_adopted_again_when_it_comes_back() {
    let cluster = Cluster::start().await;
    let set = cluster.create(set(1, "OrderedReady")).await;
    cluster.until_settled().await;
    let uid = set.metadata.uid.clone();
    let owner = |pod: &Pod| model::meta::controller_of(&pod.metadata).map(|owner| owner.uid.clone());
    let label = |value: &str| json!({ "metadata": { "labels": { "app": value } } });
    let kind = PatchKind::Merge;
    cluster.client.patch::<Pod>("default", "web-0", "", kind, label("debug")).await.expect("is patched");
    cluster
        .until("the pod does not count", |set| set.status.as_ref().is_some_and(|status| status.replicas == 0))
        .await;
    cluster.client.patch::<Pod>("default", "web-0", "", kind, label("web")).await.expect("is patched");
    cluster.until_settled().await;
    let pods = cluster.pods().await;
    assert_eq!(owner(&pods["web-0"]), uid);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_parallel_replicas_come_up_without_a_status_write_for_each() {
    let cluster = Cluster::start().await;
    let started = Instant::now();
    let made = cluster.create(set(1_000, "Parallel")).await;
    cluster.until_settled().await;
    println!("1,000 replicas in {:?}", started.elapsed());
    assert_eq!(cluster.pods().await.len(), 1_000);
    let (events, _) = cluster.client.list::<Event>(&Scope::default()).await.expect("are listed");
    assert!(events.len() <= 25, "{} events for one set", events.len());
    let options = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
    cluster.client.delete::<StatefulSet>("default", "web", options).await.expect("is deleted");
    drop(made);
    cluster.stop().await;
}

/// Stands for a driver: binds claims and grows their volumes; tells in which order they grew. No two grow
/// at a time, or it ends with a panic.
async fn be_the_driver(client: Client, grown: mpsc::UnboundedSender<String>) {
    let storage = |list: Option<&BTreeMap<String, Quantity>>| {
        list.and_then(|list| list.get("storage")).map(|size| size.0.clone()).unwrap_or_default()
    };
    let mut growing = BTreeMap::new();
    let mut claims = reflect::<PersistentVolumeClaim>(client.clone(), Scope::default());
    while let Some(change) = claims.next().await {
        let changed = match change {
            Change::Reset(claims, _) => claims,
            Change::Apply(claim) => vec![claim],
            Change::Delete(_) => Vec::new(),
        };
        for claim in changed {
            let name = claim.metadata.name.clone().unwrap_or_default();
            let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            let status = claim.status.as_ref();
            let capacity = status.and_then(|status| status.capacity.as_ref());
            let (wanted, has) = (storage(requests), storage(capacity));
            if wanted == has {
                growing.remove(&name);
                continue;
            }
            if !has.is_empty() {
                growing.insert(name.clone(), ());
                assert_eq!(growing.len(), 1, "one claim grows at a time: {growing:?}");
                grown.send(name.clone()).expect("somebody listens");
            }
            let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": wanted } } });
            let patched = client.patch::<PersistentVolumeClaim>(
                "default",
                &name,
                "status",
                PatchKind::StrategicMerge,
                status,
            );
            patched.await.expect("the driver reports");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_follow_their_templates_one_replica_at_a_time_and_no_pod_restarts() {
    let mut cluster = Cluster::start().await;
    let (sender, mut grown) = mpsc::unbounded_channel();
    cluster.tasks.spawn(be_the_driver(cluster.client.named("driver"), sender));
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": { "name": "grows" }, "provisioner": "example.com/grows", "allowVolumeExpansion": true,
    }))
    .expect("is a class");
    cluster.client.create(&class).await.expect("the class is made");
    let mut set = set(3, "OrderedReady");
    let template = |size: &str, tier: &str| {
        json!([{
            "metadata": { "name": "data", "labels": { "tier": tier } },
            "spec": {
                "storageClassName": "grows",
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": size } },
            },
        }])
    };
    set["spec"]["volumeClaimTemplates"] = template("1Gi", "silver");
    cluster.create(set).await;
    cluster.until_settled().await;
    let uids = |pods: &BTreeMap<String, Arc<Pod>>| -> Vec<Option<String>> {
        pods.values().map(|pod| pod.metadata.uid.clone()).collect()
    };
    let before = uids(&cluster.pods().await);
    cluster.patch(json!({ "spec": { "volumeClaimUpdateStrategy": { "type": "InPlace" } } })).await;
    cluster.until_settled().await;
    cluster.patch(json!({ "spec": { "volumeClaimTemplates": template("2Gi", "gold") } })).await;
    let settled = cluster.until_settled().await;
    let mut order = Vec::new();
    while let Ok(name) = grown.try_recv() {
        order.push(name);
    }
    assert_eq!(order, ["data-web-2", "data-web-1", "data-web-0"]);
    assert_eq!(uids(&cluster.pods().await), before, "no pod is restarted for its claims");
    let update = settled.status.as_ref().and_then(|status| status.update_revision.clone());
    let (claims, _) =
        cluster.client.list::<PersistentVolumeClaim>(&Scope::default()).await.expect("claims are listed");
    for claim in claims {
        let labels = claim.metadata.labels.clone().unwrap_or_default();
        assert_eq!(labels.get("tier").map(String::as_str), Some("gold"));
        assert_eq!(labels.get("controller-revision-hash"), update.as_ref());
    }
    let undo = cluster.client.patch::<StatefulSet>(
        "default",
        "web",
        "",
        PatchKind::StrategicMerge,
        json!({ "spec": { "volumeClaimTemplates": template("1Gi", "gold") } }),
    );
    let refused = undo.await.expect_err("a volume cannot shrink");
    assert!(refused.to_string().contains("field can not be less than previous value"), "{refused}");
    cluster.stop().await;
}
