//! What the agent takes from the machine it runs on, besides runtime, network and volumes: a place for calls
//! that block, and how the machine does.
//!
//! It must never decide anything about pods. A simulation hands in the simulated one, and then nothing of the
//! real machine (its threads, its memory, its names) shows in what the agent does.

use std::io;
use std::path::Path;

/// Below this share of free disk (in thousandths) the node says so; upstream evicts at the same.
const DISK_FREE_MILLI_MIN: u64 = 100;
/// Below this much free memory the node says so.
const MEMORY_FREE_BYTES_MIN: u64 = 100 << 20;

/// Which machine an agent is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Machine {
    /// This one: calls that block run on threads of their own.
    #[default]
    Real,
    /// One that is only a value: calls that block are made on the spot, so that the same run is the same
    /// every time; it is never short of anything and has no names.
    Simulated,
}

/// What the machine runs short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
}

/// What a machine calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    pub(crate) boot_id: String,
    pub(crate) machine_id: String,
    pub(crate) kernel_version: String,
    pub(crate) os_image: String,
}

impl Machine {
    /// Makes a call that blocks.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Machine::Real => {
                let done = tokio::task::spawn_blocking(call).await;
                done.unwrap_or_else(|error| Err(io::Error::other(error)))
            }
            Machine::Simulated => {
                // Others run meanwhile, and the agent may end here, as on a real machine.
                tokio::task::yield_now().await;
                call()
            }
        }
    }

    /// What it runs short of; `root` is a directory on the disk that counts.
    pub(crate) fn pressure(self, root: &Path) -> Pressure {
        if self == Machine::Simulated {
            return Pressure::default();
        }
        let memory = available_memory_bytes().is_some_and(|free| free < MEMORY_FREE_BYTES_MIN);
        let disk = rustix::fs::statvfs(root).is_ok_and(|stat| {
            stat.f_bavail.saturating_mul(1000) < stat.f_blocks.saturating_mul(DISK_FREE_MILLI_MIN)
        });
        Pressure { memory, disk }
    }

    /// What it calls itself.
    pub(crate) fn identity(self) -> Identity {
        if self == Machine::Simulated {
            return Identity::default();
        }
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let os_image = std::fs::read_to_string("/etc/os-release")
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned()))
            .unwrap_or_else(|| "Linux".to_owned());
        Identity {
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            machine_id: read("/etc/machine-id"),
            kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
            os_image,
        }
    }
}

fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}
