//! The nodes of a simulation, and the ledger of what runs and is mounted on them.
//!
//! A node is a runtime, a network and a disk that outlive the agent. The ledger sees each container start
//! and each volume being published at the moment it happens, and checks the two rules that are about nodes:
//! one running set of containers an identity, one node a volume.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use runtime::api::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ExecOutput, Runtime, RuntimeError,
    RuntimeEvent, SandboxConfig, SandboxId, SandboxStatus, Session, Streams,
};
use runtime::simulated::SimulatedRuntime;
use storage::driver::{CreateVolume, Driver, DriverError, PublishVolume, Volume, VolumeId, VolumeStats};
use storage::simulated::SimulatedDriver;
use tokio::sync::broadcast;

use crate::record::Record;

/// What runs and is mounted where.
pub(crate) struct Ledger {
    record: Arc<Record>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Containers that were started, by the pod's name.
    started: BTreeMap<String, Vec<StartedContainer>>,
    /// Pods that somebody removed by force: their containers may outlive them on another node.
    forced: BTreeSet<String>,
    /// Where a volume is published: node and path.
    published: BTreeMap<String, BTreeSet<(&'static str, PathBuf)>>,
}

struct StartedContainer {
    node: &'static str,
    uid: String,
    id: ContainerId,
    runtime: SimulatedRuntime,
}

impl StartedContainer {
    fn runs(&self) -> bool {
        let status = self.runtime.container_status(&self.id).now_or_never();
        matches!(status, Some(Ok(status)) if matches!(status.state, ContainerState::Running { .. }))
    }
}

impl Ledger {
    pub(crate) fn new(record: Arc<Record>) -> Ledger {
        Ledger { record, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a pod was taken out of the API by force.
    pub(crate) fn forced_out(&self, uid: &str) {
        self.state().forced.insert(uid.to_owned());
    }

    /// Names of the pods that have a running container, with their uids.
    pub(crate) fn running(&self) -> BTreeMap<String, BTreeSet<String>> {
        let state = self.state();
        let mut running: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (pod, containers) in &state.started {
            for container in containers.iter().filter(|container| container.runs()) {
                running.entry(pod.clone()).or_default().insert(container.uid.clone());
            }
        }
        running
    }

    /// Volumes that are published somewhere.
    pub(crate) fn published(&self) -> BTreeSet<String> {
        let state = self.state();
        let published = state.published.iter().filter(|(_, places)| !places.is_empty());
        published.map(|(volume, _)| volume.clone()).collect()
    }

    /// A node lost its power: nothing is mounted there any more.
    pub(crate) fn powered_off(&self, node: &str) {
        for places in self.state().published.values_mut() {
            places.retain(|(place, _)| *place != node);
        }
    }

    fn started(&self, container: StartedContainer, pod: &str) {
        let mut state = self.state();
        let State { started, forced, .. } = &mut *state;
        let others = started.entry(pod.to_owned()).or_default();
        others.retain(StartedContainer::runs);
        for other in others.iter().filter(|other| other.uid != container.uid) {
            // Whoever forces a pod out says that its containers are gone, wherever they were. On its own
            // node the agent knows better.
            if other.node == container.node || !forced.contains(&other.uid) {
                self.record.broke(&format!(
                    "rule 2: {pod} ({}) starts on {} while {} still runs on {}",
                    container.uid, container.node, other.uid, other.node
                ));
            }
        }
        others.push(container);
    }

    fn publish(&self, node: &'static str, request: &PublishVolume) {
        let mut state = self.state();
        let places = state.published.entry(request.id.0.clone()).or_default();
        if let Some((other, _)) = places.iter().find(|(other, _)| *other != node) {
            self.record.broke(&format!(
                "rule 3: volume {} is mounted on {node} while it is on {other}",
                request.id.0
            ));
        }
        places.insert((node, request.target_path.clone()));
    }

    fn unpublish(&self, node: &'static str, id: &VolumeId, path: &PathBuf) {
        if let Some(places) = self.state().published.get_mut(&id.0) {
            places.retain(|(place, target)| (*place, target) != (node, path));
        }
    }

    fn mounted_on(&self, id: &VolumeId) -> Option<&'static str> {
        self.state().published.get(&id.0).and_then(|places| places.first()).map(|(node, _)| *node)
    }
}

/// A node's runtime under the ledger's eyes.
pub(crate) struct Watched {
    pub(crate) node: &'static str,
    pub(crate) inner: SimulatedRuntime,
    pub(crate) ledger: Arc<Ledger>,
    /// Says that containers have ended, and does not end them.
    pub(crate) lies: bool,
}

#[async_trait]
impl Runtime for Watched {
    fn version(&self) -> String {
        self.inner.version()
    }

    fn has_network(&self) -> bool {
        self.inner.has_network()
    }

    fn has_files(&self) -> bool {
        self.inner.has_files()
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId, RuntimeError> {
        self.inner.run_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        if self.lies { Ok(()) } else { self.inner.stop_sandbox(id).await }
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        if self.lies { Ok(()) } else { self.inner.remove_sandbox(id).await }
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        if self.lies { Ok(Vec::new()) } else { self.inner.list_sandboxes().await }
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        self.inner.create_container(sandbox, config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.inner.start_container(id).await?;
        let config = self.inner.container_status(id).await?.config;
        let label = |key: &str| config.labels.get(key).cloned().unwrap_or_default();
        let (uid, pod) = (label("io.kubernetes.pod.uid"), label("io.kubernetes.pod.name"));
        let (id, runtime) = (id.clone(), self.inner.clone());
        self.ledger.started(StartedContainer { node: self.node, uid, id, runtime }, &pod);
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        if self.lies { Ok(()) } else { self.inner.stop_container(id, grace).await }
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        if self.lies { Ok(()) } else { self.inner.remove_container(id).await }
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        self.inner.list_containers().await
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        let mut status = self.inner.container_status(id).await?;
        if self.lies {
            status.state = ContainerState::Unknown;
        }
        Ok(status)
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.inner.exec_sync(id, command, timeout).await
    }

    async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<Session, RuntimeError> {
        self.inner.exec(id, command, streams).await
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session, RuntimeError> {
        self.inner.attach(id, streams).await
    }
}

/// The driver of all nodes, as one of them (or the volume controller) uses it.
pub(crate) struct Mounts {
    pub(crate) node: &'static str,
    pub(crate) inner: Arc<SimulatedDriver>,
    pub(crate) ledger: Arc<Ledger>,
}

#[async_trait]
impl Driver for Mounts {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn create_volume(&self, request: CreateVolume) -> Result<Volume, DriverError> {
        self.inner.create_volume(request).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), DriverError> {
        // As the real one: what is in use stays.
        if let Some(node) = self.ledger.mounted_on(id) {
            let reason = format!("it is still mounted on {node}");
            return Err(DriverError::Failed { operation: "delete the volume".to_owned(), reason });
        }
        self.inner.delete_volume(id).await
    }

    async fn discard_empty(&self, id: &VolumeId) -> Result<bool, DriverError> {
        if self.ledger.mounted_on(id).is_some() {
            return Ok(false);
        }
        self.inner.discard_empty(id).await
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>, DriverError> {
        self.inner.list_volumes().await
    }

    async fn publish(&self, request: PublishVolume) -> Result<(), DriverError> {
        self.ledger.publish(self.node, &request);
        self.inner.publish(request).await
    }

    async fn unpublish(&self, id: &VolumeId, target_path: PathBuf) -> Result<(), DriverError> {
        self.ledger.unpublish(self.node, id, &target_path);
        self.inner.unpublish(id, target_path).await
    }

    async fn stats(&self, id: &VolumeId) -> Result<VolumeStats, DriverError> {
        self.inner.stats(id).await
    }
}
