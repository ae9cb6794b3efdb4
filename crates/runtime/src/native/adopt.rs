//! Finding again what runs, and noticing when it ends.
//!
//! A shim's record is the truth about its container; its connection ending is the moment to read it. A shim
//! that went without a record was killed: what it kept is then killed too, because nobody owns its streams
//! or would reap it.
//!
//! Read next: `shim/supervise.rs` (who writes the records), `layout.rs`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::process::Child;
use tokio::sync::watch;

use super::connect;
use super::layout::{
    ContainerRecord, EXIT, ExitRecord, MADE, NO_SHIM, RECORD, SHIM_PID, SandboxRecord, claim, names,
    read_record, write_record,
};
use super::runtime::{Entry, Inner};
use crate::api::{ContainerId, ContainerState, Exit, RuntimeEvent, SandboxId};

/// Reads every record below the root and follows every shim.
pub(crate) fn adopt(inner: &Arc<Inner>) -> io::Result<()> {
    for name in names(&inner.layout.sandboxes())? {
        let directory = inner.layout.sandbox(&SandboxId(name.clone()));
        match read_record::<SandboxRecord>(&directory, RECORD) {
            Ok(Some(mut record)) => {
                // After a restart of the machine the namespaces that the record speaks of are gone; and an
                // agent may have died before all of them were made.
                record.stopped |=
                    !directory.join(MADE).exists() || super::mounts::below(&directory.join("ns"))?.is_empty();
                inner.sandboxes().insert(record.id.clone(), record);
            }
            other => abandon(&directory, other.err()),
        }
    }
    for name in names(&inner.layout.containers())? {
        let id = ContainerId(name);
        let directory = inner.layout.container(&id);
        let record = match read_record::<ContainerRecord>(&directory, RECORD) {
            Ok(Some(record)) => Arc::new(record),
            other => {
                abandon(&directory, other.err());
                continue;
            }
        };
        let state = match read_record::<ExitRecord>(&directory, EXIT)? {
            Some(exit) => ContainerState::Exited(exit_of(exit)),
            None => ContainerState::Created,
        };
        let over = Inner::is_over(&state);
        let starting = !over && !unclaimed(&directory)?;
        let entry = Entry { record, state: watch::Sender::new(state), pid: None, starting };
        inner.containers().insert(id.clone(), entry);
        if !over && starting {
            inner.note_running(&id).map_err(io::Error::other)?;
            inner.attend(id, None);
        }
    }
    Ok(())
}

/// Whether no shim has a container, nor will: a shim that an agent started just before it died, and that
/// comes only now, finds the container taken.
pub(super) fn unclaimed(directory: &Path) -> io::Result<bool> {
    if claim(directory, SHIM_PID, NO_SHIM)? {
        return Ok(true);
    }
    Ok(std::fs::read_to_string(directory.join(SHIM_PID))? == NO_SHIM)
}

/// Something that was being made when the agent died.
fn abandon(directory: &Path, error: Option<io::Error>) {
    if let Some(error) = error {
        let directory = directory.display();
        tracing::warn!(%directory, %error, "a record cannot be read; its directory is removed");
    }
    let removed = super::mounts::unmount_below(directory).and_then(|()| std::fs::remove_dir_all(directory));
    if let Err(error) = removed {
        let directory = directory.display();
        tracing::warn!(%directory, %error, "an unfinished directory could not be removed");
    }
}

fn exit_of(record: ExitRecord) -> Exit {
    Exit {
        code: record.code,
        signal: record.signal,
        oom_killed: record.oom_killed,
        started_at: record.started_at,
        finished_at: record.finished_at,
        message: record.message,
    }
}

impl Inner {
    /// Follows a container's shim to its end. `shim` is given where it is this process's child.
    pub(crate) fn attend(self: &Arc<Self>, id: ContainerId, shim: Option<Child>) {
        let inner = self.clone();
        self.tasks.spawn(async move {
            let directory = inner.layout.container(&id);
            connect::watch(&directory, || {
                if let Err(error) = inner.note_running(&id) {
                    tracing::warn!(container = id.0, %error, "the shim's record cannot be read");
                }
            })
            .await;
            if let Some(mut shim) = shim {
                let _ = shim.wait().await;
            }
            let (closer, ended) = (inner.clone(), id.clone());
            let closed = tokio::task::spawn_blocking(move || closer.close(&ended)).await;
            if let Ok(Err(error)) = closed {
                tracing::warn!(container = id.0, %error, "the end of a container could not be recorded");
            }
            inner.note_exit(&id);
        });
    }

    /// Ends what may be left of a container whose shim is gone, and records its end if the shim did not.
    fn close(&self, id: &ContainerId) -> io::Result<()> {
        let directory = self.layout.container(id);
        let Some(record) = read_record::<ContainerRecord>(&directory, RECORD)? else { return Ok(()) };
        self.cgroups.kill(&Path::new(&record.pod_uid).join(&id.0))?;
        if read_record::<ExitRecord>(&directory, EXIT)?.is_some() {
            return Ok(());
        }
        let started_at = match self.containers().get(id).map(|entry| entry.state.borrow().clone()) {
            Some(ContainerState::Running { started_at }) => Some(started_at),
            _ => None,
        };
        let exit = ExitRecord {
            code: 137,
            signal: None,
            oom_killed: false,
            started_at,
            finished_at: self.clock.now(),
            message: "the container's shim was lost, so the container was killed".to_owned(),
        };
        write_record(&directory, EXIT, &exit)
    }

    /// Takes over from the record that the container is over.
    pub(crate) fn note_exit(&self, id: &ContainerId) {
        let found = read_record::<ExitRecord>(&self.layout.container(id), EXIT);
        let exit = match found {
            Ok(Some(record)) => Some(exit_of(record)),
            _ => None,
        };
        let containers = self.containers();
        let Some(entry) = containers.get(id) else { return };
        let state = exit.clone().map_or(ContainerState::Unknown, ContainerState::Exited);
        let mut fresh = false;
        entry.state.send_if_modified(|now| {
            fresh = !Inner::is_over(now);
            if fresh {
                *now = state;
            }
            fresh
        });
        if fresh && let Some(exit) = exit {
            let pod_uid = entry.record.pod_uid.clone();
            let _ = self.events.send(RuntimeEvent::Exited { container: id.clone(), pod_uid, exit });
        }
    }
}
