//! A cluster without nodes: an API in memory and the controllers that a test names.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use apiserver::Api;
use client::{Change, Client, DeleteOptions, PatchKind, Propagation, Scope, Typed, reflect};
use controllers::api_resource::ApiResource;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use model::clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for a condition; far more than any takes on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A clock that goes on by itself, and that a test may put forward.
pub(crate) struct Running {
    begin: Timestamp,
    since: Instant,
    skipped_seconds: AtomicI64,
}

impl Running {
    pub(crate) fn skip(&self, seconds: i64) {
        self.skipped_seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Running {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.since.elapsed()).expect("is short");
        self.begin + passed + SignedDuration::from_secs(self.skipped_seconds.load(Ordering::SeqCst))
    }
}

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) clock: Arc<Running>,
    pub(crate) resources: Vec<ApiResource>,
    pub(crate) stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Objects by `namespace/name`, or by their name alone outside namespaces.
pub(crate) type Found<K> = BTreeMap<String, Arc<K>>;

impl Cluster {
    /// A cluster with the namespace and the account `default`.
    pub(crate) async fn start() -> Cluster {
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("is a time");
        let skipped_seconds = AtomicI64::new(0);
        let clock = Arc::new(Running { begin, since: Instant::now(), skipped_seconds });
        let api = Api::in_memory(Arc::clone(&clock) as Arc<dyn Clock>);
        let resources = api.kinds().iter().map(|kind| ApiResource {
            resource: kind.gvr.clone(),
            kind: kind.gvk.clone(),
            namespaced: kind.namespaced,
        });
        let cluster = Cluster {
            client: Client::new(api.transport(), "test"),
            clock,
            resources: resources.collect(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        if cluster.client.get::<Namespace>("", "default").await.is_err() {
            cluster.create::<Namespace>(json!({ "metadata": { "name": "default" } })).await;
        }
        let account = json!({ "metadata": { "name": "default", "namespace": "default" } });
        cluster.create::<ServiceAccount>(account).await;
        cluster
    }

    pub(crate) fn run(&mut self, controller: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(controller);
    }

    /// What every controller is handed.
    pub(crate) fn inputs(&self) -> (Client, Arc<dyn Clock>, CancellationToken, CancellationToken) {
        (
            self.client.clone(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            CancellationToken::new(),
            self.stop.clone(),
        )
    }

    pub(crate) fn run_endpoints(&mut self) {
        let (client, clock, ready, stop) = self.inputs();
        self.run(controllers::endpoints::run(client, clock, ready, stop));
    }

    pub(crate) fn run_garbage_collector(&mut self) {
        let (client, clock, ready, stop) = self.inputs();
        self.run(controllers::garbage_collector::run(client, clock, self.resources.clone(), ready, stop));
    }

    /// Stops the controllers, which must end by themselves.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(DEADLINE, ended).await.expect("the controllers end");
    }

    pub(crate) async fn create<K: Typed>(&self, object: Value) -> Arc<K> {
        let object: K = serde_json::from_value(object).expect("is of its kind");
        self.client.create(&object).await.expect("is made")
    }

    pub(crate) async fn patch<K: Typed>(
        &self,
        name: &str,
        subresource: &'static str,
        patch: Value,
    ) -> Arc<K> {
        let kind = PatchKind::Merge;
        self.client.patch("default", name, subresource, kind, patch).await.expect("is patched")
    }

    pub(crate) async fn delete<K: Typed>(&self, namespace: &str, name: &str, propagation: Propagation) {
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        self.client.delete::<K>(namespace, name, options).await.expect("is deleted");
    }

    pub(crate) async fn list<K: Typed>(&self) -> Found<K> {
        let (objects, _) = self.client.list::<K>(&Scope::default()).await.expect("is listed");
        objects.into_iter().map(|object| (key(&*object), object)).collect()
    }

    /// Waits until the objects of a kind satisfy a condition.
    pub(crate) async fn until<K: Typed>(&self, what: &str, is_so: impl Fn(&Found<K>) -> bool) -> Found<K> {
        let mut changes = reflect::<K>(self.client.clone(), Scope::default());
        let mut found = Found::new();
        let waiting = async {
            loop {
                match changes.next().await.expect("it never ends") {
                    Change::Reset(objects, _) => {
                        found = objects.into_iter().map(|object| (key(&*object), object)).collect();
                    }
                    Change::Apply(object) => {
                        found.insert(key(&*object), object);
                    }
                    Change::Delete(object) => {
                        found.remove(&key(&*object));
                    }
                }
                if is_so(&found) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, waiting).await;
        if in_time.is_err() {
            let names: Vec<&String> = found.keys().collect();
            panic!("not within the deadline: {what}; there are {names:?}");
        }
        found
    }

    pub(crate) async fn pod(&self, name: &str, labels: Value) -> Arc<Pod> {
        self.create::<Pod>(json!({
            "metadata": { "name": name, "namespace": "default", "labels": labels },
            "spec": {
                "containers": [{
                    "name": "app", "image": "app:v1",
                    "ports": [{ "name": "web", "containerPort": 8080 }],
                }],
                "nodeName": "node-a",
                "hostname": name,
                "subdomain": "web",
            },
        }))
        .await
    }

    pub(crate) async fn pod_runs(&self, name: &str, address: &str, is_ready: bool) {
        let ready = if is_ready { "True" } else { "False" };
        let status = json!({ "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{ "ip": address }],
            "conditions": [{ "type": "Ready", "status": ready }],
        }});
        self.patch::<Pod>(name, "status", status).await;
    }
}

pub(crate) fn key<K: Typed>(object: &K) -> String {
    model::meta::display_name(object.metadata())
}

/// A reference from an object in JSON to its owner.
pub(crate) fn owned_by<K: Typed>(owner: &K, blocks: bool) -> Value {
    json!({
        "apiVersion": K::API_VERSION,
        "kind": K::KIND,
        "name": owner.metadata().name,
        "uid": owner.metadata().uid,
        "blockOwnerDeletion": blocks,
    })
}
