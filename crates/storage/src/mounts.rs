//! The kernel's mount table: what is mounted where, bind mounts, and undoing them.
//!
//! Paths are matched as the kernel prints them, so callers pass absolute paths without symbolic links. It
//! must never unmount anything it was not told the exact path of.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Device as `major:minor`.
    pub device: String,
    /// Which directory of that device is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Mounted read-only here.
    pub readonly: bool,
}

/// Everything mounted in this process's mount namespace, in the order it was mounted.
pub fn list() -> io::Result<Vec<MountEntry>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
}

/// Everything mounted at or below `path`, innermost last.
pub fn beneath(path: &Path) -> io::Result<Vec<MountEntry>> {
    Ok(list()?.into_iter().filter(|entry| entry.mount_point.starts_with(path)).collect())
}

/// The topmost mount exactly at `path`.
pub fn at(path: &Path) -> io::Result<Option<MountEntry>> {
    Ok(list()?.into_iter().rev().find(|entry| entry.mount_point == path))
}

/// Makes the directory or file `source` appear at `target`, which is there and of the same type.
pub fn bind(source: &Path, target: &Path, readonly: bool) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(CWD, source, flags)?;
    place(tree.as_fd(), target, readonly)
}

/// Like [`bind`] for what a descriptor stands for: nobody can exchange it on the way.
pub fn bind_descriptor(source: BorrowedFd<'_>, target: &Path, readonly: bool) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(source, "", flags)?;
    place(tree.as_fd(), target, readonly)
}

fn place(tree: BorrowedFd<'_>, target: &Path, readonly: bool) -> io::Result<()> {
    rustix::mount::move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    if readonly && let Err(error) = set_readonly(target) {
        // Never leave a writable mount behind that was asked to be read-only.
        let _ = rustix::mount::unmount(target, UnmountFlags::DETACH);
        return Err(error);
    }
    Ok(())
}

/// Makes the bind mount at `target` read-only.
pub fn set_readonly(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "")?)
}

/// Undoes every mount at exactly `target`; nothing mounted there is no error.
pub fn unmount_all_at(target: &Path) -> io::Result<()> {
    // A publish that was repeated after a crash can have put several mounts upon each other.
    const STACKED_MAX: usize = 16;
    for _ in 0..STACKED_MAX {
        if at(target)?.is_none() {
            return Ok(());
        }
        detach(target)?;
    }
    Err(io::Error::other(format!("{} keeps being mounted", target.display())))
}

/// Undoes everything mounted at or below `path`, innermost first.
pub fn unmount_beneath(path: &Path) -> io::Result<()> {
    for entry in beneath(path)?.iter().rev() {
        detach(&entry.mount_point)?;
    }
    match beneath(path)?.first() {
        None => Ok(()),
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.mount_point.display()))),
    }
}

/// Lazily, so that a process that still stands in it cannot hold up the removal of a pod: the path is free
/// at once and the file system goes when its last user does.
fn detach(target: &Path) -> io::Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let device = String::from_utf8_lossy(fields.next()?).into_owned();
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let readonly = fields.next()?.split(|byte| *byte == b',').any(|option| option == b"ro");
    Some(MountEntry { device, root, mount_point, readonly })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'\\' && tail.len() >= 3 && tail[..3].iter().all(|digit| (b'0'..b'8').contains(digit)) {
            let value = tail[..3].iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            bytes.push(u8::try_from(value & 0xff).expect("masked to eight bits"));
            rest = &tail[3..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// True for one plain path component: no separator, not `.` or `..`, not hidden.
pub fn is_plain_name(name: &str) -> bool {
    let bytes = std::ffi::OsStr::new(name).as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 253
        && bytes[0] != b'.'
        && !bytes.contains(&b'/')
        && !bytes.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_its_escapes() {
        let line = br"36 35 98:0 /a\040b /mnt/x\134y ro,noatime shared:1 - ext4 /dev/sda1 rw";
        let entry = parse_line(line).expect("parses");
        assert_eq!(entry.device, "98:0");
        assert_eq!(entry.root, Path::new("/a b"));
        assert_eq!(entry.mount_point, Path::new(r"/mnt/x\y"));
        assert!(entry.readonly);
    }

    #[test]
    fn names_that_would_leave_the_directory_are_not_plain() {
        for name in ["", ".", "..", "a/b", ".hidden", "/"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
        assert!(is_plain_name("pvc-1234"));
    }
}
