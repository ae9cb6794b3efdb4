//! The scheduler against the real API in memory, with the StatefulSet controller and nodes that are played.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::Api;
use client::{Change, Client, DeleteOptions, PatchKind, Scope, Typed, reflect};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use model::clock::Clock;
use model::pod;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for a condition; far more than any takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

struct Running {
    begin: Timestamp,
    since: Instant,
}

impl Clock for Running {
    fn now(&self) -> Timestamp {
        self.begin + SignedDuration::try_from(self.since.elapsed()).expect("is short")
    }
}

struct Cluster {
    client: Client,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

type Found<K> = BTreeMap<String, Arc<K>>;

impl Cluster {
    /// An API with the scheduler.
    async fn start() -> Cluster {
        let begin = "2026-01-01T00:00:00Z".parse().expect("is a time");
        let clock: Arc<dyn Clock> = Arc::new(Running { begin, since: Instant::now() });
        let api = Api::in_memory(Arc::clone(&clock));
        let client = Client::new(api.transport(), "test");
        let stop = CancellationToken::new();
        let mut cluster = Cluster { client, clock, stop, tasks: JoinSet::new() };
        if cluster.client.get::<Namespace>("", "default").await.is_err() {
            cluster.create::<Namespace>(json!({"metadata": {"name": "default"}})).await;
        }
        let account = json!({"metadata": {"name": "default", "namespace": "default"}});
        cluster.create::<ServiceAccount>(account).await;
        cluster.run(scheduler::run);
        cluster
    }

    fn run<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        run: impl FnOnce(Client, Arc<dyn Clock>, CancellationToken, CancellationToken) -> F,
    ) {
        let (client, clock) = (self.client.clone(), Arc::clone(&self.clock));
        self.tasks.spawn(run(client, clock, CancellationToken::new(), self.stop.clone()));
    }

    /// Plays all nodes: pods that are bound run and are ready.
    fn run_nodes(&mut self) {
        let (client, stop) = (self.client.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut changes = reflect::<Pod>(client.clone(), Scope::default());
            while let Some(Some(change)) = stop.run_until_cancelled(changes.next()).await {
                let pods = match change {
                    Change::Reset(pods, _) => pods,
                    Change::Apply(pod) => vec![pod],
                    Change::Delete(_) => Vec::new(),
                };
                for pod in pods.iter().filter(|pod| pod::node_name(pod).is_some()) {
                    let ready = json!([{"type": "Ready", "status": "True"}]);
                    let status = json!({"status": {"phase": "Running", "conditions": ready}});
                    let name = pod.metadata.name.as_deref().unwrap_or_default();
                    if !pod::is_ready(pod) {
                        let kind = PatchKind::StrategicMerge;
                        let _ = client.patch::<Pod>("default", name, "status", kind, status).await;
                    }
                }
            }
        });
    }

    async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(DEADLINE, ended).await.expect("everything ends");
    }

    async fn create<K: Typed>(&self, object: Value) -> Arc<K> {
        let object: K = serde_json::from_value(object).expect("is of its kind");
        self.client.create(&object).await.expect("is made")
    }

    async fn node(&self, name: &str, zone: &str, cpu: &str) {
        self.create::<Node>(json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
            "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "20"}},
        }))
        .await;
    }

    async fn pod(&self, name: &str, class: &str, cpu: &str) -> Arc<Pod> {
        let container = json!({"name": "app", "image": "app:v1", "resources": {"requests": {"cpu": cpu}}});
        self.create::<Pod>(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"priorityClassName": class, "containers": [container]},
        }))
        .await
    }

    async fn is_on(&self, name: &str, node: &str) {
        let what = format!("{name} is on {node}");
        self.until::<Pod>(&what, |pods| {
            pods.get(&format!("default/{name}")).and_then(|pod| pod::node_name(pod)) == Some(node)
        })
        .await;
    }

    async fn is_told(&self, reason: &str, about: &str, message: &str) {
        let is_it = |event: &Arc<Event>| {
            event.reason.as_deref() == Some(reason)
                && event.involved_object.name.as_deref() == Some(about)
                && event.message.as_deref() == Some(message)
        };
        self.until::<Event>(message, |events| events.values().any(is_it)).await;
    }

    /// Waits until the objects of a kind satisfy a condition.
    async fn until<K: Typed>(&self, what: &str, is_so: impl Fn(&Found<K>) -> bool) -> Found<K> {
        let mut changes = reflect::<K>(self.client.clone(), Scope::default());
        let mut found = Found::new();
        let key = |object: &K| model::meta::display_name(object.metadata());
        let waiting = async {
            while !is_so(&found) {
                match changes.next().await.expect("it never ends") {
                    Change::Reset(objects, _) => {
                        found = objects.into_iter().map(|object| (key(&object), object)).collect();
                    }
                    Change::Apply(object) => {
                        found.insert(key(&object), object);
                    }
                    Change::Delete(object) => {
                        found.remove(&key(&object));
                    }
                }
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, waiting).await;
        if in_time.is_err() {
            let found = serde_json::to_string(&found.values().map(|one| &**one).collect::<Vec<_>>());
            panic!("not within the deadline: {what}; there is {}", found.expect("encodes"));
        }
        found
    }
}

const ZONE: &str = "topology.kubernetes.io/zone";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_stands_apart_has_a_replica_in_each_zone_and_the_next_waits_for_a_zone() {
    let mut cluster = Cluster::start().await;
    cluster.run(controllers::statefulset::run);
    cluster.run_nodes();
    for (node, zone) in [("a", "1"), ("b", "2"), ("c", "3")] {
        cluster.node(node, zone, "4").await;
    }
    let labels = json!({"app": "db"});
    let term = json!({"labelSelector": {"matchLabels": labels}, "topologyKey": ZONE});
    cluster
        .create::<StatefulSet>(json!({
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {
                "serviceName": "db",
                "replicas": 4,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "affinity": {"podAntiAffinity": {
                            "requiredDuringSchedulingIgnoredDuringExecution": [term]}},
                        "containers": [{"name": "db", "image": "db:v1"}],
                    },
                },
            },
        }))
        .await;
    let message = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes \
                   are available: 3 No preemption victims found for incoming pod.";
    cluster.is_told("FailedScheduling", "db-3", message).await;
    let (pods, _) = cluster.client.list::<Pod>(&Scope::default()).await.expect("is listed");
    let nodes: BTreeSet<&str> = pods.iter().filter_map(|pod| pod::node_name(pod)).collect();
    assert_eq!(nodes, BTreeSet::from(["a", "b", "c"]));
    let waiting = pods.iter().find(|pod| pod::node_name(pod).is_none()).expect("one waits");
    assert_eq!(waiting.metadata.name.as_deref(), Some("db-3"));
    let condition = pod::condition(waiting, "PodScheduled").expect("says why");
    assert_eq!((&*condition.status, condition.message.as_deref()), ("False", Some(message)));

    cluster.node("other", "3", "4").await;
    cluster.node("d", "4", "4").await;
    cluster.is_on("db-3", "d").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_important_pod_has_the_room_of_a_less_important_one_once_that_has_gone() {
    let cluster = Cluster::start().await;
    cluster.node("a", "1", "2").await;
    for (name, value) in [("low", 10), ("high", 1000)] {
        cluster.create::<PriorityClass>(json!({"metadata": {"name": name}, "value": value})).await;
    }
    cluster.pod("low-0", "low", "1500m").await;
    cluster.is_on("low-0", "a").await;
    let vip = cluster.pod("vip", "high", "1").await;
    let uid = vip.metadata.uid.clone().unwrap_or_default();

    let goes = |pods: &Found<Pod>| {
        let Some(victim) = pods.get("default/low-0") else { return false };
        let target = pod::condition(victim, "DisruptionTarget");
        victim.metadata.deletion_timestamp.is_some()
            && target.is_some_and(|one| {
                one.reason.as_deref() == Some("PreemptionByScheduler")
                    && one.message.as_deref()
                        == Some("default-scheduler: preempting to accommodate a higher priority pod")
            })
    };
    let pods = cluster.until::<Pod>("the victim goes with its grace", goes).await;
    let status = pods["default/vip"].status.as_ref().expect("has a status");
    assert_eq!(status.nominated_node_name.as_deref(), Some("a"), "the promise comes first");
    cluster.is_told("Preempted", "low-0", &format!("Preempted by pod {uid} on node a")).await;
    let why = "0/1 nodes are available: 1 Insufficient cpu.";
    cluster.is_told("FailedScheduling", "vip", why).await;

    // Nobody of its rank or below gets the room meanwhile.
    cluster.pod("thief", "low", "1500m").await;
    let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No \
                   preemption victims found for incoming pod.";
    cluster.is_told("FailedScheduling", "thief", message).await;
    let at_once = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    cluster.client.delete::<Pod>("default", "low-0", at_once).await.expect("has ended");
    cluster.is_on("vip", "a").await;
    let vip = cluster.client.get::<Pod>("default", "vip").await.expect("is there");
    assert_eq!(vip.status.as_ref().and_then(|status| status.nominated_node_name.clone()), None);
    let thief = cluster.client.get::<Pod>("default", "thief").await.expect("is there");
    assert_eq!(pod::node_name(&thief), None);
    cluster.stop().await;
}
