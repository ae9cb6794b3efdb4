//! `fsGroup`: giving a volume's files to a group.
//!
//! Done only when the volume's root does not have the group yet (`fsGroupChangePolicy: OnRootMismatch`), the
//! root last, so that an interrupted run is done again. It must never follow a symbolic link.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags};

/// Group may read and write; directories hand their group on and can be entered.
const DIRECTORY_BITS: u32 = 0o2770;
const FILE_BITS: u32 = 0o660;
/// Deepest tree that is walked: each level holds one descriptor.
const DEPTH_MAX: usize = 256;

/// Gives everything below `root` to `group`, unless `root` has it already.
pub fn apply_group(root: &Path, group: u32) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_gid == group && stat.st_mode & DIRECTORY_BITS == DIRECTORY_BITS {
        return Ok(());
    }
    give_directory(&directory, group, 0)
}

fn give_directory(directory: &OwnedFd, group: u32, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the volume's directories are nested too deeply"));
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = rustix::fs::openat(directory, name, flags, Mode::empty())?;
                give_directory(&child, group, depth + 1)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
                give(&file, group, FILE_BITS)?;
            }
            // A link's target may lie anywhere; sockets and devices keep their modes.
            _ => {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(directory, name, None, Some(Gid::from_raw(group)), flags)?;
            }
        }
    }
    give(directory, group, DIRECTORY_BITS)
}

fn give(file: &OwnedFd, group: u32, bits: u32) -> io::Result<()> {
    // The owner changes first: the kernel clears setgid on a change of group.
    rustix::fs::fchown(file, None, Some(Gid::from_raw(group)))?;
    let mode = rustix::fs::fstat(file)?.st_mode & 0o7777;
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode | bits))?;
    Ok(())
}
