//! Removing everything that a cluster's runtime made on this machine, also after the agent is gone.
//!
//! It finds things by where they lie (the root's mounts and records, the cluster's cgroups) and never by
//! name, so that another cluster beside it is not touched.
//!
//! Read next: `layout.rs`, `cgroups.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroups::Cgroups;
use super::layout::{Layout, SHIM_PID, names};
use super::mounts;
use super::runtime::{NativeRuntime, failed};
use super::shim::{PAUSE_PID, SUPERVISE};
use crate::api::RuntimeError;

/// What a runtime still has on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Processes that keep containers or sandboxes.
    pub processes: Vec<u32>,
    /// Mount points, innermost first.
    pub mounts: Vec<PathBuf>,
}

impl NativeRuntime {
    /// Lists what a runtime has on the machine, for `down` to show.
    pub fn leftovers(root: &Path) -> Result<Leftovers, RuntimeError> {
        let layout = Layout { root: root.to_owned() };
        let mut processes = Vec::new();
        let shims = names(&layout.containers()).map_err(failed("list the containers"))?;
        let shims = shims.iter().map(|name| layout.containers().join(name));
        processes.extend(shims.filter_map(|directory| shim_of(&directory)).map(|(pid, _)| pid));
        let mounts = mounts::below(root).map_err(failed("list the mounts"))?;
        Ok(Leftovers { processes, mounts })
    }

    /// Ends and removes everything of a cluster on this machine: containers, shims, namespaces, mounts,
    /// cgroups and files. Running it again, or without anything there, is fine.
    pub fn purge(root: &Path, cluster_id: &str) -> Result<(), RuntimeError> {
        purge(root, cluster_id).map_err(failed("remove what the runtime made"))
    }
}

fn purge(root: &Path, cluster: &str) -> io::Result<()> {
    let root = match root.canonicalize() {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => root.to_owned(),
        Err(error) => return Err(error),
    };
    let layout = Layout { root };
    let cgroups = Cgroups::discover(cluster)?;
    // Shims first: they would only record deaths that nobody will read.
    for name in names(&layout.containers())? {
        if let Some((_, shim)) = shim_of(&layout.containers().join(name)) {
            let _ = pidfd_send_signal(&shim, Signal::KILL);
        }
    }
    cgroups.kill(Path::new(""))?;
    for name in names(&layout.sandboxes())? {
        end_pause(&layout.sandboxes().join(name));
    }
    for directory in [layout.containers(), layout.sandboxes()] {
        mounts::unmount_below(&directory)?;
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    cgroups.remove_cluster()
}

/// Ends process 1 of a sandbox's shared process namespace, and with it all that are in it.
pub(crate) fn end_pause(sandbox: &Path) {
    if let Some((_, pause)) = job_of(&sandbox.join(PAUSE_PID), super::shim::PAUSE, None) {
        let _ = pidfd_send_signal(&pause, Signal::KILL);
    }
}

/// The shim of a container's directory, if it lives.
pub(crate) fn shim_of(directory: &Path) -> Option<(u32, rustix::fd::OwnedFd)> {
    job_of(&directory.join(SHIM_PID), SUPERVISE, Some(directory))
}

/// The process that a file names, if it is still the job it was: its id may have gone to another.
fn job_of(file: &Path, job: &str, directory: Option<&Path>) -> Option<(u32, rustix::fd::OwnedFd)> {
    let id: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let process = pidfd_open(Pid::from_raw(i32::try_from(id).ok()?)?, PidfdFlags::empty()).ok()?;
    let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).skip(1);
    let same = words.next() == Some(job.as_bytes())
        && directory.is_none_or(|directory| words.next() == Some(directory.as_os_str().as_encoded_bytes()));
    same.then_some((id, process))
}
