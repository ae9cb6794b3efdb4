//! Mounts that the runtime makes in the machine's own mount namespace: root file systems and shared memory.
//!
//! Every one lies below the runtime's root, so that it can be listed and taken away. This file must never
//! unmount anything outside the directory it is given.
//!
//! Read next: `runtime.rs` (who calls it), `shim/sandbox.rs` (the mounts that hold namespaces).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

/// Mounts an overlay of `layers` (lowest first) with its writable directories below `directory`.
pub(crate) fn mount_overlay(directory: &Path, layers: &[PathBuf]) -> io::Result<PathBuf> {
    let target = directory.join("rootfs");
    for name in ["rootfs", "upper", "work"] {
        fs::create_dir_all(directory.join(name))?;
    }
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    // `lowerdir+` (Linux 6.5) takes one layer at a time, topmost first, without a limit on the whole length.
    let one_by_one =
        layers.iter().rev().try_for_each(|layer| fsconfig_set_string(&context, "lowerdir+", layer.as_path()));
    let context = match one_by_one {
        Ok(()) => context,
        Err(Errno::INVAL) => {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let list: Vec<String> = layers.iter().rev().map(|layer| escape(layer)).collect();
            fsconfig_set_string(&context, "lowerdir", list.join(":").as_str())?;
            context
        }
        Err(error) => return Err(error.into()),
    };
    fsconfig_set_string(&context, "upperdir", directory.join("upper").as_path())?;
    fsconfig_set_string(&context, "workdir", directory.join("work").as_path())?;
    fsconfig_set_string(&context, "source", "ordinal")?;
    fsconfig_create(&context)?;
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", CWD, target.as_path(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(target)
}

fn escape(layer: &Path) -> String {
    layer.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:")
}

/// Mounts the memory that a pod's containers share as `/dev/shm`.
pub(crate) fn mount_shared_memory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("shm", directory, "tmpfs", flags, Some(c"mode=1777,size=64m"))?)
}

/// Makes a directory, and those above it, below a root that may hold hostile links.
pub(crate) fn make_directory_in(root: &Path, inside: &Path) -> io::Result<()> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut sofar = PathBuf::new();
    for part in inside.components() {
        let std::path::Component::Normal(name) = part else { continue };
        let parent = if sofar.as_os_str().is_empty() { Path::new(".") } else { sofar.as_path() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat2(&root, parent, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => sofar.push(name),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is mounted at or below a directory, innermost first.
pub(crate) fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = match fs::canonicalize(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(unescape(field)))
        .filter(|path| path.starts_with(&directory))
        .collect();
    found.reverse();
    Ok(found)
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let coded = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    coded.replace("\\134", "\\")
}

/// Takes away every mount at or below a directory.
pub(crate) fn unmount_below(directory: &Path) -> io::Result<()> {
    for path in below(directory)? {
        match unmount(path.as_path(), UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
