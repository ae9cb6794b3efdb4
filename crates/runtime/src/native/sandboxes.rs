//! Making and ending sandboxes.
//!
//! Read next: `shim/sandbox.rs` (the job that makes the namespaces), `containers.rs`.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::connect::job;
use super::layout::{MADE, RECORD, SandboxRecord, write_record};
use super::mounts;
use super::purge::end_pause;
use super::runtime::{Inner, blocking, failed};
use super::shim::{PAUSE_PID, SANDBOX, make_namespaces};
use crate::api::{ContainerId, ContainerState, RuntimeError, SandboxConfig, SandboxId};

/// Name of the pod's cgroup leaf that process 1 of a shared process namespace is in.
const PAUSE_GROUP: &str = "pause";

impl Inner {
    pub(crate) async fn run_sandbox(
        self: &Arc<Self>,
        config: SandboxConfig,
    ) -> Result<SandboxId, RuntimeError> {
        let same = |record: &&SandboxRecord| {
            !record.stopped && record.config.uid == config.uid && record.config.attempt == config.attempt
        };
        if let Some(record) = self.sandboxes().values().find(same) {
            return Ok(record.id.clone());
        }
        if config.uid.is_empty() || config.uid.contains('/') || config.uid.starts_with('.') {
            return Err(RuntimeError::BadConfig { reason: format!("{:?} is not a pod uid", config.uid) });
        }
        let id = SandboxId(self.fresh_id(&config.uid));
        let created_at = self.clock.now();
        let mut record =
            SandboxRecord { id: id.clone(), config, created_at, stopped: false, pause_pid: None };
        match self.make_sandbox(&mut record).await {
            Ok(()) => {
                self.sandboxes().insert(id.clone(), record);
                Ok(id)
            }
            Err(error) => {
                let inner = self.clone();
                let cleaned = blocking("clean up", move || inner.discard_sandbox(&record)).await;
                if let Err(left) = cleaned {
                    tracing::warn!(%left, "a sandbox that could not be made was not cleaned up");
                }
                Err(error)
            }
        }
    }

    async fn make_sandbox(self: &Arc<Self>, record: &mut SandboxRecord) -> Result<(), RuntimeError> {
        let directory = self.layout.sandbox(&record.id);
        let (inner, written, place) = (self.clone(), record.clone(), directory.clone());
        blocking("make the sandbox", move || {
            fs::create_dir_all(&place)?;
            write_record(&place, RECORD, &written)?;
            inner.cgroups.make_pod(&written.config.uid, &written.config.resources)?;
            mounts::mount_shared_memory(&place.join("shm"))
        })
        .await?;
        if record.config.share_process_namespace {
            self.make_namespaces_by_a_job(&directory).await?;
            let text =
                fs::read_to_string(directory.join(PAUSE_PID)).map_err(failed("find the pause process"))?;
            let pid: u32 = text.trim().parse().map_err(failed("find the pause process"))?;
            record.pause_pid = Some(pid);
            self.cgroups
                .enter(&record.config.uid, PAUSE_GROUP, pid)
                .map_err(failed("limit the pause process"))?;
            write_record(&directory, RECORD, record).map_err(failed("record the sandbox"))?;
        } else {
            let (place, config) = (directory.clone(), record.config.clone());
            blocking("make the sandbox's namespaces", move || make_namespaces(&place, config)).await?;
        }
        fs::write(directory.join(MADE), "").map_err(failed("record the sandbox"))
    }

    async fn make_namespaces_by_a_job(&self, directory: &Path) -> Result<(), RuntimeError> {
        let mut command = job(&self.exe, SANDBOX, directory);
        let child = command.stderr(Stdio::piped()).spawn().map_err(failed("start the sandbox's maker"))?;
        let output = child.wait_with_output().await.map_err(failed("make the sandbox's namespaces"))?;
        if output.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(RuntimeError::Failed { operation: "make the sandbox's namespaces".to_owned(), reason })
    }

    pub(crate) async fn stop_sandbox(self: &Arc<Self>, id: &SandboxId) -> Result<(), RuntimeError> {
        let Ok(mut record) = self.sandbox(id) else { return Ok(()) };
        if record.stopped {
            return Ok(());
        }
        for container in self.containers_of(id) {
            self.stop_container(&container, Duration::ZERO).await?;
        }
        record.stopped = true;
        let (inner, written) = (self.clone(), record.clone());
        blocking("stop the sandbox", move || {
            inner.cgroups.kill(Path::new(&written.config.uid))?;
            let directory = inner.layout.sandbox(&written.id);
            mounts::unmount_below(&directory.join("ns"))?;
            write_record(&directory, RECORD, &written)
        })
        .await?;
        self.sandboxes().insert(id.clone(), record);
        Ok(())
    }

    pub(crate) async fn remove_sandbox(self: &Arc<Self>, id: &SandboxId) -> Result<(), RuntimeError> {
        let Ok(record) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.remove_container(&container).await?;
        }
        let inner = self.clone();
        blocking("remove the sandbox", move || inner.discard_sandbox(&record)).await?;
        self.sandboxes().remove(id);
        Ok(())
    }

    fn discard_sandbox(&self, record: &SandboxRecord) -> io::Result<()> {
        let others = self.sandboxes();
        let shared = others.values().any(|o| o.id != record.id && o.config.uid == record.config.uid);
        drop(others);
        if !shared {
            self.cgroups.kill(Path::new(&record.config.uid))?;
            self.cgroups.remove(Path::new(&record.config.uid))?;
        }
        let directory = self.layout.sandbox(&record.id);
        // One whose agent died while it was made may have a process that is in no group yet.
        end_pause(&directory);
        mounts::unmount_below(&directory)?;
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn containers_of(&self, sandbox: &SandboxId) -> Vec<ContainerId> {
        let containers = self.containers();
        let of_sandbox = containers.values().filter(|entry| entry.record.sandbox == *sandbox);
        of_sandbox.map(|entry| entry.record.id.clone()).collect()
    }

    /// Whether a container is over.
    pub(crate) fn is_over(state: &ContainerState) -> bool {
        matches!(state, ContainerState::Exited(_) | ContainerState::Unknown)
    }
}
