//! The controller over the API in memory: with a driver that is told what to answer, and with the real one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apiserver::Api;
use async_trait::async_trait;
use client::{Change, Client, DeleteOptions, PatchKind, Scope, Typed, reflect};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolume, PersistentVolumeClaim, ServiceAccount};
use k8s_openapi::api::storage::v1::StorageClass;
use model::clock::{Clock, FixedClock};
use serde_json::{Value, json};
use storage::LocalDriver;
use storage::driver::{CreateVolume, Driver, DriverError, PublishVolume, Volume, VolumeId, VolumeStats};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::world::{DRIVER, now, object};

/// Longest wait for a condition; far more than any takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Has room on one node only.
#[derive(Default)]
struct Told {
    volumes: Mutex<BTreeSet<String>>,
}

impl Told {
    fn volumes(&self) -> BTreeSet<String> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Driver for Told {
    fn name(&self) -> &'static str {
        DRIVER
    }

    async fn create_volume(&self, request: CreateVolume) -> Result<Volume, DriverError> {
        if request.node.as_deref() == Some("full") {
            return Err(DriverError::ResourceExhausted { reason: "there is no room".to_owned() });
        }
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).insert(request.name.clone());
        let CreateVolume { name, capacity_bytes, parameters: context, node } = request;
        Ok(Volume { id: VolumeId(name), capacity_bytes, context, node })
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), DriverError> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.0);
        Ok(())
    }

    async fn discard_empty(&self, id: &VolumeId) -> Result<bool, DriverError> {
        self.delete_volume(id).await.map(|()| true)
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>, DriverError> {
        Ok(Vec::new())
    }

    async fn publish(&self, request: PublishVolume) -> Result<(), DriverError> {
        Err(DriverError::NotFound { id: request.id.0 })
    }

    async fn unpublish(&self, _id: &VolumeId, _target_path: PathBuf) -> Result<(), DriverError> {
        Ok(())
    }

    async fn stats(&self, id: &VolumeId) -> Result<VolumeStats, DriverError> {
        Err(DriverError::NotFound { id: id.0.clone() })
    }
}

struct Cluster {
    client: Client,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cluster {
    async fn start(drivers: Vec<Arc<dyn Driver>>) -> Cluster {
        let clock: Arc<dyn Clock> = Arc::new(FixedClock(now()));
        let api = Api::in_memory(Arc::clone(&clock));
        let client = Client::new(api.transport(), "test");
        let stop = CancellationToken::new();
        if client.get::<Namespace>("", "default").await.is_err() {
            let namespace: Namespace = object(json!({ "metadata": { "name": "default" } }));
            client.create(&namespace).await.expect("the namespace is made");
        }
        // No pod is admitted without one; in a whole cluster another controller makes it.
        let account: ServiceAccount =
            object(json!({ "metadata": { "name": "default", "namespace": "default" } }));
        client.create(&account).await.expect("the account is made");
        let provisioner = drivers[0].name();
        for (name, mode) in [("now", "Immediate"), ("later", "WaitForFirstConsumer")] {
            let class: StorageClass = object(json!({
                "metadata": { "name": name }, "provisioner": provisioner, "volumeBindingMode": mode,
            }));
            client.create(&class).await.expect("the class is made");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(crate::volumes::run(
            client.clone(),
            drivers,
            clock,
            CancellationToken::new(),
            stop.clone(),
        ));
        Cluster { client, stop, tasks }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn claim(&self, name: &str, class: &str) -> Arc<PersistentVolumeClaim> {
        let claim: PersistentVolumeClaim = object(json!({
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Mi" } } },
        }));
        self.client.create(&claim).await.expect("the claim is made")
    }

    async fn choose(&self, name: &str, node: &str) {
        let patch = json!({ "metadata": { "annotations": {
            "volume.kubernetes.io/selected-node": node } } });
        let kind = PatchKind::Merge;
        let patched = self.client.patch::<PersistentVolumeClaim>("default", name, "", kind, patch).await;
        patched.expect("the claim is patched");
    }

    /// Waits until what is there of a kind satisfies a condition.
    async fn until<K: Typed>(&self, what: &str, is_so: impl Fn(&[Arc<K>]) -> bool) -> Vec<Arc<K>> {
        let mut changes = reflect::<K>(self.client.clone(), Scope::default());
        let found = tokio::time::timeout(DEADLINE, async {
            loop {
                let change = changes.next().await.expect("it never ends");
                // The first picture of a kind may be complete already; later ones are read anew.
                let objects = match change {
                    Change::Reset(objects, _) => objects,
                    _ => self.client.list::<K>(&Scope::default()).await.expect("is listed").0,
                };
                if is_so(&objects) {
                    return objects;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("not within the deadline: {what}"))
    }

    async fn until_bound(&self, count: usize) {
        let is_bound = |claim: &Arc<PersistentVolumeClaim>| {
            claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
        };
        let enough = |claims: &[Arc<PersistentVolumeClaim>]| {
            claims.iter().filter(|claim| is_bound(claim)).count() == count
        };
        self.until("all claims are bound", enough).await;
    }

    async fn delete_claim(&self, name: &str) {
        let deleted = self.client.delete::<PersistentVolumeClaim>("default", name, DeleteOptions::default());
        deleted.await.expect("the claim is deleted");
    }

    async fn volume(&self) -> Value {
        let (volumes, _) = self.client.list::<PersistentVolume>(&Scope::default()).await.expect("is listed");
        let [volume] = volumes.as_slice() else { panic!("there are {} volumes", volumes.len()) };
        serde_json::to_value(&**volume).expect("can be encoded")
    }
}

#[tokio::test]
async fn a_local_volume_comes_with_its_first_consumer_and_goes_with_its_claim() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = LocalDriver::open(directory.path()).expect("opens");
    let cluster = Cluster::start(vec![Arc::new(driver.clone())]).await;
    let claim = cluster.claim("data", "later").await;
    cluster
        .until::<Event>("people are told what it waits for", |events| {
            events.iter().any(|event| event.reason.as_deref() == Some("WaitForFirstConsumer"))
        })
        .await;
    cluster.choose("data", "node-1").await;
    cluster.until_bound(1).await;
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().expect("has a uid"));
    let volume = cluster.volume().await;
    assert_eq!(volume["metadata"]["name"], *name);
    assert_eq!(volume["status"]["phase"], "Bound");
    assert_eq!(volume["spec"]["csi"]["driver"], "local.ordinal.dev");
    let content = driver.content_path(&VolumeId(name));
    assert!(content.is_dir());
    cluster.delete_claim("data").await;
    cluster.until::<PersistentVolume>("the volume is gone", <[_]>::is_empty).await;
    assert!(!content.exists());
    cluster.until::<PersistentVolumeClaim>("the claim is gone", <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_without_room_is_given_up_so_that_another_is_chosen() {
    let driver = Arc::new(Told::default());
    let cluster = Cluster::start(vec![Arc::clone(&driver) as Arc<dyn Driver>]).await;
    cluster.claim("data", "later").await;
    cluster.choose("data", "full").await;
    cluster
        .until::<PersistentVolumeClaim>("the node is given up", |claims| {
            let annotations = claims.iter().filter_map(|claim| claim.metadata.annotations.as_ref());
            let mut marked =
                annotations.filter(|all| all.contains_key("volume.kubernetes.io/storage-provisioner"));
            marked.any(|all| !all.contains_key("volume.kubernetes.io/selected-node"))
        })
        .await;
    assert!(driver.volumes().is_empty());
    cluster.choose("data", "roomy").await;
    cluster.until_bound(1).await;
    assert_eq!(driver.volumes().len(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn a_claim_stays_until_its_running_pod_is_gone() {
    let driver = Arc::new(Told::default());
    let cluster = Cluster::start(vec![Arc::clone(&driver) as Arc<dyn Driver>]).await;
    cluster.claim("data", "now").await;
    cluster.until_bound(1).await;
    let pod: k8s_openapi::api::core::v1::Pod = object(json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "app", "image": "app" }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] },
    }));
    cluster.client.create(&pod).await.expect("the pod is made");
    cluster.delete_claim("data").await;
    // A later claim is dealt with, the deleted one is still there.
    cluster.claim("later", "now").await;
    cluster.until_bound(2).await;
    assert_eq!(driver.volumes().len(), 2);
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let deleted = cluster.client.delete::<k8s_openapi::api::core::v1::Pod>("default", "web", options);
    deleted.await.expect("the pod is deleted");
    cluster.until::<PersistentVolume>("its volume is gone", |volumes| volumes.len() == 1).await;
    assert_eq!(driver.volumes().len(), 1);
    cluster.stop().await;
}

#[tokio::test]
async fn a_claim_does_not_wait_for_a_pod_that_its_node_is_done_with() {
    let driver = Arc::new(Told::default());
    let cluster = Cluster::start(vec![Arc::clone(&driver) as Arc<dyn Driver>]).await;
    cluster.claim("data", "now").await;
    cluster.until_bound(1).await;
    // Held as a deletion in the foreground holds it, which waits for the claim that the pod owns.
    let pod: k8s_openapi::api::core::v1::Pod = object(json!({
        "metadata": { "name": "web", "namespace": "default", "finalizers": ["example.com/waits"] },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "app", "image": "app" }],
            "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] },
    }));
    cluster.client.create(&pod).await.expect("the pod is made");
    cluster.delete_claim("data").await;
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let deleted = cluster.client.delete::<k8s_openapi::api::core::v1::Pod>("default", "web", options);
    deleted.await.expect("the pod is deleted");
    // Forced out, its containers may still run: the claim stays while a later one is dealt with.
    cluster.claim("later", "now").await;
    cluster.until_bound(2).await;
    assert_eq!(driver.volumes().len(), 2);
    let live = cluster.client.get::<k8s_openapi::api::core::v1::Pod>("default", "web").await;
    let mut ended = (*live.expect("the pod is held")).clone();
    ended.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
    cluster.client.update_status(&ended).await.expect("its end is told");
    cluster.until::<PersistentVolume>("its volume is gone", |volumes| volumes.len() == 1).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_hundred_claims_get_the_hundred_volumes_there_are_and_as_many_new_ones() {
    let driver = Arc::new(Told::default());
    let cluster = Cluster::start(vec![Arc::clone(&driver) as Arc<dyn Driver>]).await;
    for number in 0..100 {
        let volume: PersistentVolume = object(json!({
            "metadata": { "name": format!("disk-{number}") },
            "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Mi" },
                "storageClassName": "there", "hostPath": { "path": "/nowhere" } },
        }));
        cluster.client.create(&volume).await.expect("the volume is made");
        cluster.claim(&format!("old-{number}"), "there").await;
        cluster.claim(&format!("new-{number}"), "now").await;
    }
    cluster.until_bound(200).await;
    assert_eq!(driver.volumes().len(), 100);
    let (claims, _) =
        cluster.client.list::<PersistentVolumeClaim>(&Scope::default()).await.expect("is listed");
    let volumes: BTreeSet<_> =
        claims.iter().filter_map(|claim| claim.spec.as_ref()?.volume_name.clone()).collect();
    assert_eq!(volumes.len(), 200, "no volume has two claims");
    cluster.stop().await;
}

fn left_over(name: &str, node: &str) -> CreateVolume {
    CreateVolume {
        name: name.to_owned(),
        capacity_bytes: 1 << 20,
        parameters: std::collections::BTreeMap::new(),
        node: Some(node.to_owned()),
    }
}

#[tokio::test]
async fn what_a_crash_left_on_another_node_does_not_hold_its_claim_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = LocalDriver::open(directory.path()).expect("opens");
    let cluster = Cluster::start(vec![Arc::new(driver.clone())]).await;
    let claim = cluster.claim("data", "later").await;
    let name = format!("pvc-{}", claim.metadata.uid.as_deref().expect("has a uid"));
    driver.create_volume(left_over(&name, "node-2")).await.expect("is made");
    cluster.choose("data", "node-1").await;
    cluster.until_bound(1).await;
    let made = driver.list_volumes().await.expect("are listed");
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].id.0.as_str(), made[0].node.as_deref()), (name.as_str(), Some("node-1")));
    cluster.stop().await;
}

#[tokio::test]
async fn a_sweep_removes_empty_volumes_of_claims_that_are_gone_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = LocalDriver::open(directory.path()).expect("opens");
    let cluster = Cluster::start(vec![Arc::new(Told::default())]).await;
    let claim = cluster.claim("data", "later").await;
    let claimed = format!("pvc-{}", claim.metadata.uid.as_deref().expect("has a uid"));
    let kept = ["pvc-with-data", "pvc-named", "pvc-referred-to", claimed.as_str(), "by-hand"];
    for name in kept.iter().chain(&["pvc-orphan", "pvc-another"]) {
        driver.create_volume(left_over(name, "node-1")).await.expect("is made");
    }
    let content = driver.content_path(&VolumeId("pvc-with-data".to_owned()));
    std::fs::write(content.join("key"), "value").expect("is written");
    for (name, handle) in [("pvc-named", "elsewhere"), ("mine", "pvc-referred-to")] {
        let volume: PersistentVolume = object(json!({
            "metadata": { "name": name },
            "spec": {
                "capacity": { "storage": "1Mi" }, "accessModes": ["ReadWriteOnce"],
                "csi": { "driver": "local.ordinal.dev", "volumeHandle": handle },
            },
        }));
        cluster.client.create(&volume).await.expect("the volume is made");
    }
    crate::volumes::sweep::sweep(&cluster.client, &driver).await.expect("sweeps");
    let left = driver.list_volumes().await.expect("are listed");
    let left: BTreeSet<String> = left.into_iter().map(|volume| volume.id.0).collect();
    assert_eq!(left, kept.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>());
    assert!(content.join("key").exists());
    cluster.stop().await;
}
