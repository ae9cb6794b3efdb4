//! Where everything of a native runtime lies on disk, and the records that survive a restart.
//!
//! `<root>/sandboxes/<id>/{record.json, made, ns/, shm/}` and `<root>/containers/<id>/{record.json,
//! config.json, shim.conf, shim.pid, started.json, exit.json, s, lc/, upper/, work/, rootfs/}`. A record is
//! written whole, synced and renamed into place, so that a reader sees the old one or the new one. This file
//! must never decide anything about a container.
//!
//! Read next: `shim/supervise.rs` (who writes `started.json` and `exit.json`), `adopt.rs` (who reads them).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::{ContainerConfig, ContainerId, SandboxConfig, SandboxId};

/// What a sandbox was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: SandboxId,
    pub(crate) config: SandboxConfig,
    pub(crate) created_at: Timestamp,
    /// Its namespaces were given up.
    pub(crate) stopped: bool,
    /// The process that holds a shared process namespace.
    pub(crate) pause_pid: Option<u32>,
}

/// What a container was made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: ContainerId,
    pub(crate) sandbox: SandboxId,
    pub(crate) pod_uid: String,
    pub(crate) config: ContainerConfig,
    pub(crate) created_at: Timestamp,
    /// The signal that stops it, of its configuration or its image.
    pub(crate) stop_signal: i32,
}

/// Written by the shim once the container's process runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StartedRecord {
    pub(crate) pid: u32,
    pub(crate) started_at: Timestamp,
}

/// Written by the shim when the container is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    pub(crate) code: i32,
    #[serde(default)]
    pub(crate) signal: Option<i32>,
    #[serde(default)]
    pub(crate) oom_killed: bool,
    #[serde(default)]
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
    #[serde(default)]
    pub(crate) message: String,
}

/// The directories of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn sandbox(&self, id: &SandboxId) -> PathBuf {
        self.sandboxes().join(&id.0)
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(&id.0)
    }
}

/// Name of the record of a sandbox or container in its directory.
pub(crate) const RECORD: &str = "record.json";
/// Name of the record that a container's process runs.
pub(crate) const STARTED: &str = "started.json";
/// Name of the record that a container is over.
pub(crate) const EXIT: &str = "exit.json";
/// Name of the file with the shim's process id; who makes it has the container, see [`claim`].
pub(crate) const SHIM_PID: &str = "shim.pid";
/// What stands in place of a process id where an agent found that nobody will start the container.
pub(crate) const NO_SHIM: &str = "0";
/// Name of the empty file that says that a sandbox was made to its end. It is not synced: what it speaks of
/// does not survive a restart of the machine either.
pub(crate) const MADE: &str = "made";
/// Name of the shim's own configuration.
pub(crate) const SHIM_CONF: &str = "shim.conf";
/// Name of the shim's socket; short, because its whole path may not exceed 107 bytes.
pub(crate) const SOCKET: &str = "s";
/// Name of libcontainer's own state directory.
pub(crate) const LIBCONTAINER: &str = "lc";
/// The name under which libcontainer knows the one container of its state directory.
pub(crate) const LIBCONTAINER_ID: &str = "c";

/// Writes a file so that after a power loss it is there whole or not at all.
pub(crate) fn write_durably(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// Makes a file with its content unless there is one of that name; of several that try, one succeeds.
pub(crate) fn claim(directory: &Path, name: &str, content: &str) -> io::Result<bool> {
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, content)?;
    let linked = fs::hard_link(&temporary, directory.join(name));
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a record as JSON.
pub(crate) fn write_record<T: Serialize>(directory: &Path, name: &str, record: &T) -> io::Result<()> {
    write_durably(directory, name, &serde_json::to_vec(record)?)
}

/// Reads a record; `None` when there is none.
pub(crate) fn read_record<T: DeserializeOwned>(directory: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(directory.join(name)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names in a directory; none when it is not there.
pub(crate) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_two_claims_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        assert!(claim(directory.path(), SHIM_PID, "7").unwrap());
        assert!(!claim(directory.path(), SHIM_PID, NO_SHIM).unwrap());
        assert_eq!(fs::read_to_string(directory.path().join(SHIM_PID)).unwrap(), "7");
        assert_eq!(names(directory.path()).unwrap(), [SHIM_PID], "nothing else is left");
    }
}
