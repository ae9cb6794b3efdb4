//! The machine's devices, for containers that may use all of them (`privileged`).
//!
//! Left out is what every container gets anyway, what belongs to somebody's terminal, and mounts below
//! `/dev`. It must never open a device.
//!
//! Read next: `plan.rs` (what becomes of them).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most devices that are given: machines with hundreds of disks have some thousands of partitions. The rest
/// is left out.
const DEVICES_MAX: usize = 8192;
/// Directories within directories that are looked into; the kernel nests three deep.
const DEPTH_MAX: usize = 8;
/// What every container has of its own, by name in `/dev`.
const OWN: &[&str] = &[
    "console", "fd", "full", "log", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
    "stdout", "tty", "urandom", "zero",
];

/// One device file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) path: PathBuf,
    pub(crate) is_block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The devices of this machine, in the order of their paths.
pub(crate) fn of_this_machine() -> io::Result<Vec<Device>> {
    let mut found = Vec::new();
    let root = Path::new("/dev");
    look_into(root, fs::metadata(root)?.dev(), 0, &mut found)?;
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

fn look_into(directory: &Path, filesystem: u64, depth: usize, found: &mut Vec<Device>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Devices come and go, and what went meanwhile is not missed.
        let Ok(metadata) = entry.metadata() else { continue };
        let is_own = depth == 0 && entry.file_name().to_str().is_some_and(|name| OWN.contains(&name));
        if is_own || metadata.dev() != filesystem || found.len() == DEVICES_MAX {
            continue;
        }
        let kind = metadata.file_type();
        if kind.is_dir() && depth < DEPTH_MAX {
            look_into(&entry.path(), filesystem, depth + 1, found)?;
        } else if kind.is_block_device() || kind.is_char_device() {
            let number = metadata.rdev();
            found.push(Device {
                path: entry.path(),
                is_block: kind.is_block_device(),
                major: rustix::fs::major(number),
                minor: rustix::fs::minor(number),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_container_has_is_not_among_them_and_each_is_there_once() {
        let devices = of_this_machine().unwrap();
        let paths: Vec<_> = devices.iter().map(|device| device.path.as_path()).collect();
        assert!(!paths.contains(&Path::new("/dev/null")) && !paths.iter().any(|p| p.starts_with("/dev/pts")));
        assert!(paths.is_sorted_by(|left, right| left < right));
    }
}
