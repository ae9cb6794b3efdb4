//! What happens to a simulated cluster: a user who changes his mind, and a machine room that fails.
//!
//! The user's own way to the API has no faults, so that what he asked for is known; everything else has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use client::{Client, DeleteOptions, PatchKind, Propagation, Scope};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use model::status::Status;
use serde_json::{Value, json};
use store::Fault;

use crate::dice::Dice;
use crate::record::Record;
use crate::simulation::Simulation;

/// The sets that there may be.
const SETS: [&str; 2] = ["db", "web"];
const NAMESPACE: &str = "default";
/// More than the writes that a disk may have been told to fail.
const TRIES_MAX: u32 = 50;

/// The user.
pub(crate) struct User {
    client: Client,
    dice: Arc<Dice>,
    record: Arc<Record>,
    versions: AtomicU32,
    /// Sets whose pods have claims. It stays so for a name: a pod that was orphaned without one cannot be
    /// given one when it is adopted, here as upstream, and its set then waits until somebody deletes it.
    with_claims: Vec<&'static str>,
}

impl User {
    pub(crate) fn new(client: Client, dice: Arc<Dice>, record: Arc<Record>) -> User {
        let with_claims = SETS.into_iter().filter(|_| dice.below(3) > 0).collect();
        User { client, dice, record, versions: AtomicU32::new(0), with_claims }
    }

    /// Does one thing.
    pub(crate) async fn act(&self, simulation: &Simulation) {
        let set = self.dice.pick(&SETS);
        let is_there = self.client.get::<StatefulSet>(NAMESPACE, set).await.is_ok();
        if !is_there && self.dice.below(3) > 0 {
            return self.create(set).await;
        }
        match self.dice.below(20) {
            0..=3 => self.scale(set).await,
            4..=6 => self.update(set).await,
            7..=8 => self.delete_pod(None).await,
            9 => self.delete_pod(Some(0)).await,
            10 => self.delete_set(set).await,
            11 => self.partition(set).await,
            12 => self.retention(set).await,
            13 => self.delete_claim().await,
            14 => self.end_container(simulation),
            15 => simulation.power_off(self.dice.below(2) as usize),
            16 => self.crash_server(simulation).await,
            17 => self.fail_disk(simulation),
            _ => self.crash_part(simulation),
        }
    }

    /// Takes back what can never come to rest: templates that do not run, and partitions that keep one.
    pub(crate) async fn mend(&self) {
        for set in SETS {
            let Ok(found) = self.client.get::<StatefulSet>(NAMESPACE, set).await else { continue };
            let mut containers = json!(found.spec.template.spec.as_ref().expect("it has one").containers);
            let image = containers[0]["image"].as_str().unwrap_or_default();
            if is_broken(image) {
                containers[0]["image"] = json!("sim/app:1");
            }
            let labels = json!({ "version": self.version() });
            let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
            let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
            let patch = json!({ "spec": { "template": template, "updateStrategy": strategy } });
            self.insist(&format!("mend {set}"), async || {
                let kind = PatchKind::Merge;
                self.client.patch::<StatefulSet>(NAMESPACE, set, "", kind, patch.clone()).await.map(drop)
            })
            .await;
        }
        // A pod that is ready now and then, and mostly not, holds up an ordered rollout for ever: as upstream
        // says of rollbacks, it has to be deleted by hand.
        let Ok((pods, _)) = self.client.list::<Pod>(&Scope::default()).await else { return };
        for pod in pods {
            let image =
                pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
            let name = pod.metadata.name.clone().unwrap_or_default();
            if is_broken(&image) {
                self.insist(&format!("delete broken pod {name}"), async || {
                    self.client.delete::<Pod>(NAMESPACE, &name, DeleteOptions::default()).await
                })
                .await;
            }
        }
    }

    /// Tries until it is done: what is left of the disk's failures is used up by it.
    async fn insist(&self, what: &str, act: impl AsyncFn() -> Result<(), Status>) {
        for _ in 0..TRIES_MAX {
            let done = act().await;
            let is_done = done.is_ok();
            self.note(what, done);
            if is_done {
                return;
            }
        }
    }

    fn note<T>(&self, what: &str, done: Result<T, Status>) {
        match done {
            Ok(_) => self.record.note(&format!("user: {what}")),
            Err(status) => self.record.note(&format!("user: {what}: {status}")),
        }
    }

    fn version(&self) -> String {
        self.versions.fetch_add(1, Ordering::Relaxed).to_string()
    }

    async fn create(&self, set: &'static str) {
        let has_claims = self.with_claims.contains(&set);
        let service = json!({
            "metadata": { "name": set, "namespace": NAMESPACE },
            "spec": { "clusterIP": "None", "selector": { "app": set }, "ports": [{ "port": 80 }] },
        });
        let service: Service = serde_json::from_value(service).expect("is a service");
        let make = async || match self.client.create(&service).await {
            Err(status) if !status.is_already_exists() => Err(status),
            _ => Ok(()),
        };
        self.insist(&format!("serve {set}"), make).await;
        let policy = self.dice.pick(&["OrderedReady", "OrderedReady", "Parallel"]);
        let mut object = json!({
            "metadata": { "name": set, "namespace": NAMESPACE },
            "spec": {
                "serviceName": set,
                "replicas": 1 + self.dice.below(3),
                "podManagementPolicy": policy,
                "selector": { "matchLabels": { "app": set } },
                "template": {
                    "metadata": { "labels": { "app": set, "version": self.version() } },
                    "spec": {
                        "terminationGracePeriodSeconds": self.dice.pick(&[1, 2, 5]),
                        "containers": [{ "name": "app", "image": self.image() }],
                    },
                },
            },
        });
        if has_claims {
            let request = json!({ "storage": "1Gi" });
            object["spec"]["volumeClaimTemplates"] = json!([{
                "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": request } },
            }]);
            let mounts = json!([{ "name": "data", "mountPath": "/data" }]);
            object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts;
            object["spec"]["persistentVolumeClaimRetentionPolicy"] = self.policy();
        }
        let object: StatefulSet = serde_json::from_value(object).expect("is a set");
        self.note(
            &format!("create {set}: {policy}, claims: {has_claims}"),
            self.client.create(&object).await,
        );
    }

    fn policy(&self) -> Value {
        let choice = ["Retain", "Retain", "Delete"];
        json!({ "whenDeleted": self.dice.pick(&choice), "whenScaled": self.dice.pick(&choice) })
    }

    fn image(&self) -> &'static str {
        let images = ["sim/app:1", "sim/app:2", "sim/slow:1500ms", "sim/stubborn", "sim/crash:2s"];
        if self.dice.one_in(12) { "sim/unstartable" } else { self.dice.pick(&images) }
    }

    async fn patch(&self, what: &str, set: &str, patch: Value) {
        let done = self.client.patch::<StatefulSet>(NAMESPACE, set, "", PatchKind::Merge, patch).await;
        self.note(what, done);
    }

    async fn scale(&self, set: &str) {
        let replicas = self.dice.below(5);
        self.patch(&format!("scale {set} to {replicas}"), set, json!({ "spec": { "replicas": replicas } }))
            .await;
    }

    async fn update(&self, set: &str) {
        let image = self.image();
        self.template(set, image).await;
    }

    async fn template(&self, set: &str, image: &str) {
        let Ok(found) = self.client.get::<StatefulSet>(NAMESPACE, set).await else { return };
        let mut containers = json!(found.spec.template.spec.as_ref().expect("it has one").containers);
        containers[0]["image"] = json!(image);
        let version = self.version();
        let template =
            json!({ "metadata": { "labels": { "version": version } }, "spec": { "containers": containers } });
        let patch = json!({ "spec": { "template": template } });
        self.patch(&format!("update {set} to {image}, version {version}"), set, patch).await;
    }

    async fn partition(&self, set: &str) {
        let partition = self.dice.below(3);
        let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": partition } });
        let patch = json!({ "spec": { "updateStrategy": strategy } });
        self.patch(&format!("partition {set} at {partition}"), set, patch).await;
    }

    async fn retention(&self, set: &str) {
        let policy = self.policy();
        let patch = json!({ "spec": { "persistentVolumeClaimRetentionPolicy": policy } });
        self.patch(&format!("retention of {set}: {policy}"), set, patch).await;
    }

    async fn delete_pod(&self, grace_period_seconds: Option<i64>) {
        let Ok((pods, _)) = self.client.list::<Pod>(&Scope::default()).await else { return };
        if pods.is_empty() {
            return;
        }
        let name = self.dice.pick(&pods).metadata.name.clone().unwrap_or_default();
        let options = DeleteOptions { grace_period_seconds, ..DeleteOptions::default() };
        let done = self.client.delete::<Pod>(NAMESPACE, &name, options).await;
        self.note(&format!("delete pod {name} with grace {grace_period_seconds:?}"), done);
    }

    async fn delete_set(&self, set: &str) {
        let propagation =
            self.dice.pick(&[Propagation::Background, Propagation::Foreground, Propagation::Orphan]);
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let done = self.client.delete::<StatefulSet>(NAMESPACE, set, options).await;
        self.note(&format!("delete {set}: {propagation:?}"), done);
    }

    async fn delete_claim(&self) {
        let listed = self.client.list::<PersistentVolumeClaim>(&Scope::default()).await;
        let Ok((claims, _)) = listed else { return };
        if claims.is_empty() {
            return;
        }
        let name = self.dice.pick(&claims).metadata.name.clone().unwrap_or_default();
        let done =
            self.client.delete::<PersistentVolumeClaim>(NAMESPACE, &name, DeleteOptions::default()).await;
        self.note(&format!("delete claim {name}"), done);
    }

    fn end_container(&self, simulation: &Simulation) {
        let runtime = simulation.nodes[self.dice.below(2) as usize].runtime();
        let containers = runtime.containers();
        if !containers.is_empty() {
            let container = self.dice.pick(&containers);
            self.record.note("fault: a container ends by itself");
            runtime.end(&container, 1, self.dice.one_in(2));
        }
    }

    async fn crash_server(&self, simulation: &Simulation) {
        self.record.note("fault: the server crashes");
        simulation.server.crash().await;
        tokio::time::sleep(self.dice.pause(3_000)).await;
        simulation.server.start().await;
        self.record.note("the server runs again");
    }

    fn fail_disk(&self, simulation: &Simulation) {
        self.record.note("fault: the disk fails some writes");
        let faults: Vec<Fault> = (0..1 + self.dice.below(3))
            .map(|_| self.dice.pick(&[Fault::Full, Fault::Lost, Fault::Unconfirmed]))
            .collect();
        simulation.server.fail_writes(&faults);
    }

    fn crash_part(&self, simulation: &Simulation) {
        let name = self.dice.pick(&simulation.parts.names());
        self.record.note(&format!("fault: {name} crashes"));
        simulation.parts.crash(name);
    }
}

/// True for images whose containers end by themselves, or never start.
fn is_broken(image: &str) -> bool {
    image.contains("crash") || image.contains("unstartable")
}
