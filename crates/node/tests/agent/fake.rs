//! A runtime, images and a network that exist only in memory and do as the test says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::clock::Clock;
use network::pod_network::{Attachment, HostPort, NetworkError, PodNetwork};
use runtime::api::*;
use tokio::sync::broadcast;

/// The system's clock: these tests run in real time.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<SandboxId, SandboxStatus>,
    containers: BTreeMap<ContainerId, ContainerStatus>,
    next: u64,
    missing_images: Vec<String>,
    exec_code: i32,
    stubborn: bool,
    hanging_pulls: bool,
    pulls: usize,
    /// Every call that changes something, in order.
    calls: Vec<String>,
}

/// The fake.
pub(crate) struct Fake {
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
}

impl Fake {
    pub(crate) fn new() -> Fake {
        Fake { state: Mutex::default(), events: broadcast::channel(4096).0 }
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// What `exec_sync` answers from now on.
    pub(crate) fn set_exec_code(&self, code: i32) {
        self.state.lock().unwrap().exec_code = code;
    }

    /// From now on containers end only when killed.
    pub(crate) fn set_stubborn(&self) {
        self.state.lock().unwrap().stubborn = true;
    }

    pub(crate) fn lose_image(&self, reference: &str) {
        self.state.lock().unwrap().missing_images.push(reference.to_owned());
    }

    pub(crate) fn find_image(&self, reference: &str) {
        self.state.lock().unwrap().missing_images.retain(|missing| missing != reference);
    }

    /// From now on no pull ends.
    pub(crate) fn hang_pulls(&self) {
        self.state.lock().unwrap().hanging_pulls = true;
    }

    /// How many pulls there were.
    pub(crate) fn pulls(&self) -> usize {
        self.state.lock().unwrap().pulls
    }

    /// What is there when an agent dies between making the next try of a container and starting it.
    pub(crate) fn leave_unstarted(&self, pod: &str, container: &str) {
        let mut config = self.config(pod, container).expect("it was made before");
        config.attempt += 1;
        let mut state = self.state.lock().unwrap();
        let sandbox = state.sandboxes.iter().find(|(_, status)| status.config.name == pod);
        let sandbox = sandbox.expect("the pod has one").0.clone();
        state.next += 1;
        let id = ContainerId(format!("{:064x}", state.next));
        let created = ContainerState::Created;
        let created_at = Timestamp::now();
        let status =
            ContainerStatus { id: id.clone(), sandbox, config, state: created, created_at, pid: None };
        state.containers.insert(id, status);
    }

    /// How many containers were made but not started.
    pub(crate) fn unstarted(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.containers.values().filter(|container| container.state == ContainerState::Created).count()
    }

    /// Containers that run, as `pod/container/attempt`.
    pub(crate) fn running(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let mut running: Vec<String> = state
            .containers
            .values()
            .filter(|container| matches!(container.state, ContainerState::Running { .. }))
            .map(|container| {
                let pod = &state.sandboxes[&container.sandbox].config.name;
                format!("{pod}/{}/{}", container.config.name, container.config.attempt)
            })
            .collect();
        running.sort();
        running
    }

    pub(crate) fn config(&self, pod: &str, container: &str) -> Option<ContainerConfig> {
        let state = self.state.lock().unwrap();
        state
            .containers
            .values()
            .filter(|status| {
                status.config.name == container && state.sandboxes[&status.sandbox].config.name == pod
            })
            .max_by_key(|status| status.config.attempt)
            .map(|status| status.config.clone())
    }

    pub(crate) fn sandboxes(&self) -> usize {
        self.state.lock().unwrap().sandboxes.len()
    }

    /// Ends a container by itself.
    pub(crate) fn exit(&self, pod: &str, container: &str, code: i32) {
        let id = {
            let state = self.state.lock().unwrap();
            let found = state.containers.iter().find(|(_, status)| {
                status.config.name == container
                    && state.sandboxes[&status.sandbox].config.name == pod
                    && matches!(status.state, ContainerState::Running { .. })
            });
            found.expect("it runs").0.clone()
        };
        self.end(&id, code);
    }

    fn end(&self, id: &ContainerId, code: i32) {
        let mut state = self.state.lock().unwrap();
        let Some(status) = state.containers.get_mut(id) else {
            return;
        };
        let ContainerState::Running { started_at } = status.state else {
            return;
        };
        let exit = Exit {
            code,
            signal: None,
            oom_killed: false,
            started_at: Some(started_at),
            finished_at: Timestamp::now(),
            message: String::new(),
        };
        status.state = ContainerState::Exited(exit.clone());
        let pod_uid = status.config.labels["io.kubernetes.pod.uid"].clone();
        let _ = self.events.send(RuntimeEvent::Exited { container: id.clone(), pod_uid, exit });
    }
}

fn missing(what: &str) -> RuntimeError {
    RuntimeError::NotFound { what: what.to_owned() }
}

#[async_trait]
impl Runtime for Fake {
    fn version(&self) -> String {
        "fake://1".to_owned()
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId, RuntimeError> {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let id = SandboxId(format!("s{}", state.next));
        state.calls.push(format!("sandbox {}", config.name));
        let status = SandboxStatus { id: id.clone(), config, ready: true, created_at: Timestamp::now() };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let state = self.state.lock().unwrap();
        let alive = state.containers.values().any(|container| {
            &container.sandbox == id && matches!(container.state, ContainerState::Running { .. })
        });
        assert!(!alive, "a sandbox was stopped over a running container");
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let mut state = self.state.lock().unwrap();
        if let Some(gone) = state.sandboxes.remove(id) {
            state.calls.push(format!("remove {}", gone.config.name));
        }
        state.containers.retain(|_, container| &container.sandbox != id);
        Ok(())
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.state.lock().unwrap().sandboxes.values().cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let mut state = self.state.lock().unwrap();
        let pod = state.sandboxes.get(sandbox).ok_or_else(|| missing("sandbox"))?.config.clone();
        state.next += 1;
        let id = ContainerId(format!("{:064x}", state.next));
        state.calls.push(format!("start {}/{}/{}", pod.name, config.name, config.attempt));
        let status = ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.clone(),
            config,
            state: ContainerState::Created,
            created_at: Timestamp::now(),
            pid: None,
        };
        state.containers.insert(id.clone(), status);
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let mut state = self.state.lock().unwrap();
        let status = state.containers.get_mut(id).ok_or_else(|| missing("container"))?;
        status.state = ContainerState::Running { started_at: Timestamp::now() };
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let stubborn = self.state.lock().unwrap().stubborn;
        if stubborn {
            tokio::time::sleep(grace).await;
        }
        self.end(id, if stubborn { 137 } else { 143 });
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.state.lock().unwrap().containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        Ok(self.state.lock().unwrap().containers.values().cloned().collect())
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        self.state.lock().unwrap().containers.get(id).cloned().ok_or_else(|| missing("container"))
    }

    async fn exec_sync(
        &self,
        _: &ContainerId,
        _: Vec<String>,
        _: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let code = self.state.lock().unwrap().exec_code;
        Ok(ExecOutput { code, stdout: b"said so".to_vec(), stderr: Vec::new() })
    }

    async fn exec(&self, _: &ContainerId, _: Vec<String>, _: Streams) -> Result<Session, RuntimeError> {
        Err(missing("exec"))
    }

    async fn attach(&self, _: &ContainerId, _: Streams) -> Result<Session, RuntimeError> {
        Err(missing("attach"))
    }
}

#[async_trait]
impl Images for Fake {
    async fn image(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        if self.state.lock().unwrap().missing_images.iter().any(|missing| missing == reference) {
            return Ok(None);
        }
        Ok(Some(Image {
            id: ImageId("sha256:aa".to_owned()),
            tags: vec![reference.to_owned()],
            digests: vec![format!("{reference}@sha256:bb")],
            size_bytes: 1,
            imported: false,
        }))
    }

    async fn pull(&self, reference: &str, _: Option<RegistryAuth>) -> Result<Image, ImageError> {
        let hangs = {
            let mut state = self.state.lock().unwrap();
            state.pulls += 1;
            state.hanging_pulls
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let absent =
            || ImageError::Pull { reference: reference.to_owned(), reason: "no such image".to_owned() };
        self.image(reference).await?.ok_or_else(absent)
    }

    async fn list(&self) -> Result<Vec<Image>, ImageError> {
        Ok(Vec::new())
    }

    async fn import(&self, _: PathBuf) -> Result<Vec<Image>, ImageError> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &ImageId) -> Result<(), ImageError> {
        Ok(())
    }
}

/// Gives out addresses one after the other.
#[derive(Default)]
pub(crate) struct FakeNetwork {
    pods: Mutex<BTreeMap<String, IpAddr>>,
    next: Mutex<u16>,
}

impl FakeNetwork {
    pub(crate) fn attached(&self) -> usize {
        self.pods.lock().unwrap().len()
    }
}

#[async_trait]
impl PodNetwork for FakeNetwork {
    async fn attach(&self, pod_uid: &str, _: &[HostPort]) -> Result<Attachment, NetworkError> {
        let address = *self.pods.lock().unwrap().entry(pod_uid.to_owned()).or_insert_with(|| {
            let mut next = self.next.lock().unwrap();
            *next += 1;
            let [high, low] = next.to_be_bytes();
            IpAddr::from([10, 42, high, low])
        });
        Ok(Attachment {
            pod_uid: pod_uid.to_owned(),
            namespace_path: PathBuf::from("/proc/self/ns/net"),
            addresses: vec![address],
        })
    }

    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        self.pods.lock().unwrap().remove(pod_uid);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Attachment>, NetworkError> {
        let pods = self.pods.lock().unwrap();
        Ok(pods
            .iter()
            .map(|(uid, address)| Attachment {
                pod_uid: uid.clone(),
                namespace_path: PathBuf::new(),
                addresses: vec![*address],
            })
            .collect())
    }
}
