//! `subPath`: a directory or file inside a volume, whatever the pods that write to the volume put there.
//!
//! The path is resolved by the kernel inside the volume, without following any symbolic link, and what was
//! found is mounted by its descriptor: exchanging a part of the path in between changes nothing.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use storage::mounts;

/// Makes `sub_path` of the volume at `root` appear at `target`, creating directories that are missing.
pub fn mount(root: &Path, sub_path: &str, target: &Path, readonly: bool) -> io::Result<()> {
    let found = open(root, sub_path, !readonly)?;
    let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) == FileType::Directory;
    mounts::unmount_all_at(target)?;
    // What was there before may be of the other type.
    let _ = fs::remove_file(target);
    if is_directory {
        fs::create_dir_all(target)?;
    } else {
        let _ = fs::remove_dir(target);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(target)?;
    }
    mounts::bind_descriptor(found.as_fd(), target, readonly)
}

fn open(root: &Path, sub_path: &str, create: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    for component in Path::new(sub_path).components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(io::Error::other(format!("the subPath {sub_path:?} leaves its volume")));
            }
        };
        let step = || {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
            rustix::fs::openat2(&at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        };
        let next = match step() {
            Err(rustix::io::Errno::NOENT) if create => {
                match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o750)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                inherit(&at, &step()?)?;
                step()?
            }
            // API volumes are made of the agent's own links through `..data`.
            Err(rustix::io::Errno::LOOP) => agents_link(root, &at, name)?,
            other => other?,
        };
        at = next;
    }
    Ok(at)
}

/// Follows a link only inside the volume's root: a link out of it ends at the root (`RESOLVE_IN_ROOT`).
fn agents_link(root: &Path, at: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<OwnedFd> {
    let link = rustix::fs::readlinkat(at, name, Vec::new())?;
    if !link.to_bytes().starts_with(b"..data/") {
        return Err(io::Error::other(format!("the subPath meets a symbolic link at {name:?}")));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// A new directory belongs to whom its parent belongs, so that `fsGroup` holds in it.
fn inherit(parent: &OwnedFd, child: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(parent)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(child));
    let (owner, group) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chown(&path, Some(owner), Some(group))?;
    rustix::fs::chmod(&path, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_dots_do_not_lead_out_of_the_volume() {
        let root = tempfile::tempdir().expect("a directory");
        symlink("/etc", root.path().join("link")).expect("linked");
        fs::create_dir(root.path().join("real")).expect("made");
        symlink("/etc/passwd", root.path().join("real/file")).expect("linked");
        for path in ["link", "link/passwd", "real/file", "../x", "/etc"] {
            assert!(open(root.path(), path, true).is_err(), "{path:?}");
        }
        assert!(open(root.path(), "real/new/deep", true).is_ok());
        assert!(root.path().join("real/new/deep").is_dir());
        assert!(open(root.path(), "missing", false).is_err());
    }
}
