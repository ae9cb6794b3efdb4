//! The agent's side of the native runtime: what it keeps in memory, and the trait.
//!
//! Read next: `sandboxes.rs` and `containers.rs` (what each call does), `adopt.rs` (after a restart).

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use model::clock::Clock;
use tokio::sync::{broadcast, watch};
use tokio_util::task::TaskTracker;

use super::capabilities::{self, Own};
use super::cgroups::Cgroups;
use super::layout::{ContainerRecord, Layout, SandboxRecord};
use crate::api::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ExecOutput, Runtime, RuntimeError,
    RuntimeEvent, SandboxConfig, SandboxId, SandboxStatus, Session, Streams,
};
use crate::rootfs::Layers;

/// Events that a subscriber may fall behind: four for each of a thousand containers.
const EVENTS_MAX: usize = 4096;

/// Containers by libcontainer, each kept by a shim. Cloning shares one runtime.
#[derive(Clone)]
pub struct NativeRuntime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) layout: Layout,
    pub(crate) cluster: String,
    pub(crate) layers: Arc<dyn Layers>,
    pub(crate) exe: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cgroups: Cgroups,
    pub(crate) own: Own,
    /// The out-of-memory preference below which nothing can be set; `None` where there is no such floor.
    pub(crate) oom_floor: Option<i32>,
    pub(crate) said_oom_floor: std::sync::Once,
    pub(crate) events: broadcast::Sender<RuntimeEvent>,
    pub(crate) tasks: TaskTracker,
    pub(crate) counter: AtomicU64,
    pub(crate) sandboxes: Mutex<HashMap<SandboxId, SandboxRecord>>,
    pub(crate) containers: Mutex<HashMap<ContainerId, Entry>>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) record: Arc<ContainerRecord>,
    pub(crate) state: watch::Sender<ContainerState>,
    pub(crate) pid: Option<u32>,
    pub(crate) starting: bool,
}

impl NativeRuntime {
    /// Opens the runtime of a directory and finds again what runs there. `cluster_id` names its cgroups;
    /// `self_exe` is the binary that [`super::shim_main`] is in. To be called inside a tokio runtime.
    pub fn new(
        root: PathBuf,
        cluster_id: String,
        layers: Arc<dyn Layers>,
        self_exe: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Result<NativeRuntime, RuntimeError> {
        std::fs::create_dir_all(root.join("containers")).map_err(failed("make the runtime's directory"))?;
        std::fs::create_dir_all(root.join("sandboxes")).map_err(failed("make the runtime's directory"))?;
        let root = root.canonicalize().map_err(failed("find the runtime's directory"))?;
        let own = capabilities::own().map_err(failed("read the process's capabilities"))?;
        let oom_floor = if own.sys_resource {
            None
        } else {
            let text = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
            Some(text.trim().parse().unwrap_or(0))
        };
        let runtime = NativeRuntime {
            inner: Arc::new(Inner {
                layout: Layout { root },
                cgroups: Cgroups::discover(&cluster_id).map_err(failed("find the cgroup hierarchies"))?,
                cluster: cluster_id,
                layers,
                exe: self_exe,
                clock,
                own,
                oom_floor,
                said_oom_floor: std::sync::Once::new(),
                events: broadcast::channel(EVENTS_MAX).0,
                tasks: TaskTracker::new(),
                counter: AtomicU64::new(0),
                sandboxes: Mutex::default(),
                containers: Mutex::default(),
            }),
        };
        super::adopt::adopt(&runtime.inner).map_err(failed("find what runs already"))?;
        Ok(runtime)
    }
}

/// Turns a low-level error into the trait's.
pub(crate) fn failed<E: Display>(operation: &str) -> impl FnOnce(E) -> RuntimeError + use<E> {
    let operation = operation.to_owned();
    move |error| RuntimeError::Failed { operation, reason: error.to_string() }
}

/// Runs what blocks (mounts, cgroups, synced files) where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, RuntimeError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(failed(operation))?;
    done.map_err(failed(operation))
}

impl Inner {
    pub(crate) fn sandboxes(&self) -> MutexGuard<'_, HashMap<SandboxId, SandboxRecord>> {
        self.sandboxes.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn containers(&self) -> MutexGuard<'_, HashMap<ContainerId, Entry>> {
        self.containers.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn entry(&self, id: &ContainerId) -> Result<Entry, RuntimeError> {
        let found = self.containers().get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound { what: format!("container {}", id.0) })
    }

    pub(crate) fn sandbox(&self, id: &SandboxId) -> Result<SandboxRecord, RuntimeError> {
        let found = self.sandboxes().get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound { what: format!("sandbox {}", id.0) })
    }

    /// An id that nothing else of this cluster has had: of the moment, and of a count within it.
    pub(crate) fn fresh_id(&self, of: &str) -> String {
        use sha2::Digest;
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now().as_nanosecond();
        let text = format!("{}\0{of}\0{now}\0{count}\0{}", self.cluster, std::process::id());
        sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Entry {
    pub(crate) fn status(&self) -> ContainerStatus {
        let state = self.state.borrow().clone();
        let running = matches!(state, ContainerState::Running { .. });
        ContainerStatus {
            id: self.record.id.clone(),
            sandbox: self.record.sandbox.clone(),
            config: self.record.config.clone(),
            state,
            created_at: self.record.created_at,
            pid: self.pid.filter(|_| running),
        }
    }
}

#[async_trait]
impl Runtime for NativeRuntime {
    fn version(&self) -> String {
        format!("ordinal://{}", env!("CARGO_PKG_VERSION"))
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId, RuntimeError> {
        self.inner.run_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.inner.stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.inner.remove_sandbox(id).await
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        let sandboxes = self.inner.sandboxes();
        let status = |record: &SandboxRecord| SandboxStatus {
            id: record.id.clone(),
            config: record.config.clone(),
            ready: !record.stopped,
            created_at: record.created_at,
        };
        let mut list: Vec<_> = sandboxes.values().map(status).collect();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(list)
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        self.inner.create_container(sandbox, config).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        // In a task of its own: a caller that goes away must not leave a container half started.
        let (inner, id) = (self.inner.clone(), id.clone());
        let task = self.inner.tasks.spawn(async move { inner.start_container(&id).await });
        task.await.map_err(failed("start the container"))?
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.inner.stop_container(id, grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.inner.remove_container(id).await
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let mut list: Vec<_> = self.inner.containers().values().map(Entry::status).collect();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(list)
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        Ok(self.inner.entry(id)?.status())
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
