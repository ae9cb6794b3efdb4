//! One directory tree that an archive may write in, and nowhere else.
//!
//! Every parent is resolved by the kernel beneath the tree's root (`openat2` with `RESOLVE_BENEATH`), so
//! that no symbolic link made by an earlier entry leads out; the last part of a path is never followed.
//! No path is ever given to the kernel from `/`.
//!
//! Read next: [`super::layer`] (which entry becomes which call).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::api::ImageError;

use super::{failed, read_error, refused};

/// The attribute by which overlayfs hides what lower layers have in a directory.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Longest name in a directory, as every file system in use has it.
const NAME_BYTES_MAX: usize = 255;

/// Deepest path: each part costs the kernel and every later reader a look-up.
const DEPTH_MAX: usize = 256;

/// Owner, mode, time and attributes of an entry.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) mtime: (i64, u32),
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A path beneath the root: clean, relative, without `..`. Empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Inner(PathBuf);

impl Inner {
    /// Reads a path from an archive.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let shown = || String::from_utf8_lossy(bytes).into_owned();
        if bytes.first() == Some(&b'/') {
            return Err(refused(format!("the path {:?} is absolute", shown())));
        }
        if bytes.contains(&0) {
            return Err(refused(format!("the path {:?} has a zero byte", shown())));
        }
        let mut path = Vec::with_capacity(bytes.len());
        let mut depth = 0;
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(refused(format!("the path {:?} leads out by \"..\"", shown()))),
                _ if part.len() > NAME_BYTES_MAX => {
                    return Err(refused(format!(
                        "a name is longer than {NAME_BYTES_MAX} bytes: {:?}",
                        shown()
                    )));
                }
                _ => {}
            }
            if depth > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            depth += 1;
        }
        if depth > DEPTH_MAX {
            return Err(refused(format!("a path is deeper than {DEPTH_MAX}")));
        }
        Ok(Self(PathBuf::from(OsString::from_vec(path))))
    }

    /// The directory it is in, and its name there; nothing for the root.
    pub(super) fn split(&self) -> Option<(Self, &OsStr)> {
        Some((Self(self.0.parent()?.to_owned()), self.0.file_name()?))
    }

    /// A name in this directory.
    pub(super) fn join(&self, name: &OsStr) -> Self {
        Self(self.0.join(name))
    }

    fn shown(&self) -> String {
        self.0.display().to_string()
    }
}

/// The tree.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory that was resolved last: archives go directory by directory. It stays right because no
    /// directory is ever removed or replaced while an archive is unpacked.
    last: Option<(Inner, OwnedFd)>,
    may_own: bool,
}

impl Tree {
    /// An empty directory that is there.
    pub(super) fn new(root: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())
            .map_err(|errno| failed("open the layer's directory", errno))?;
        Ok(Self { root, last: None, may_own: rustix::process::geteuid().is_root() })
    }

    /// A directory, made with its parents where they are missing (archives may leave parents out).
    fn directory_fd(&mut self, path: &Inner) -> Result<OwnedFd, ImageError> {
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return fd.try_clone().map_err(|error| failed("duplicate a descriptor", error));
        }
        let fd = match self.resolve(path) {
            Err(Errno::NOENT) => {
                let (parent, name) = path.split().expect("the root is there");
                let parent = self.directory_fd(&parent)?;
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(&format!("make the directory {}", path.shown()), errno)),
                }
                self.resolve(path)
            }
            other => other,
        };
        let fd = fd.map_err(|errno| match errno {
            Errno::XDEV | Errno::LOOP | Errno::NOENT | Errno::NOTDIR => refused(format!(
                "the path {:?} goes through a link that leads out, or through a file",
                path.shown()
            )),
            errno => failed(&format!("open the directory {}", path.shown()), errno),
        })?;
        let kept = fd.try_clone().map_err(|error| failed("duplicate a descriptor", error))?;
        self.last = Some((path.clone(), kept));
        Ok(fd)
    }

    fn resolve(&self, path: &Inner) -> Result<OwnedFd, Errno> {
        let path = if path.0.as_os_str().is_empty() { Path::new(".") } else { &path.0 };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath)
    }

    fn place<'a>(&mut self, path: &'a Inner) -> Result<(OwnedFd, &'a OsStr), ImageError> {
        let (parent, name) =
            path.split().ok_or_else(|| refused("the layer's root is not a directory".to_owned()))?;
        Ok((self.directory_fd(&parent)?, name))
    }

    /// Makes room for something that is not a directory, or tells that a directory is there.
    fn clear(parent: &OwnedFd, name: &OsStr, path: &Inner) -> Result<(), ImageError> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                Err(refused(format!("the directory {:?} is replaced within its own layer", path.shown())))
            }
            Err(errno) => Err(failed(&format!("replace {}", path.shown()), errno)),
        }
    }

    /// Makes a directory; its metadata is set by [`Tree::finish_directory`], after its children.
    pub(super) fn directory(&mut self, path: &Inner) -> Result<(), ImageError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let parent = self.directory_fd(&parent)?;
        let mut hides_lower = false;
        match stat(&parent, name)? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => return Ok(()),
            Some(found) => {
                hides_lower = is_whiteout(&found);
                Self::clear(&parent, name, path)?;
            }
            None => {}
        }
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))
            .map_err(|errno| failed(&format!("make the directory {}", path.shown()), errno))?;
        if hides_lower {
            self.hide_lower(path)?;
        }
        Ok(())
    }

    /// Sets a directory's metadata.
    pub(super) fn finish_directory(&mut self, path: &Inner, metadata: &Metadata) -> Result<(), ImageError> {
        let fd = match path.split() {
            None => self.directory_fd(path)?,
            Some((parent, name)) => {
                let parent = self.directory_fd(&parent)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&parent, name, flags, Mode::empty())
                    .map_err(|errno| failed(&format!("open the directory {}", path.shown()), errno))?
            }
        };
        self.describe(&fd, metadata).map_err(|errno| failed(&format!("describe {}", path.shown()), errno))
    }

    /// Makes a file with this content; gives the number of bytes.
    pub(super) fn file(
        &mut self,
        path: &Inner,
        metadata: &Metadata,
        mut content: impl Read,
    ) -> Result<u64, ImageError> {
        let (parent, name) = self.place(path)?;
        Self::clear(&parent, name, path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| failed(&format!("make the file {}", path.shown()), errno))?;
        let mut file = File::from(fd);
        let mut buffer = vec![0; 64 << 10];
        let mut written = 0;
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(&error)),
            };
            io::Write::write_all(&mut file, &buffer[..count])
                .map_err(|error| failed(&format!("write the file {}", path.shown()), error))?;
            written += count as u64;
        }
        self.describe(&file, metadata)
            .map_err(|errno| failed(&format!("describe {}", path.shown()), errno))?;
        Ok(written)
    }

    /// Makes a symbolic link; where it points matters only to those who follow it, in the container.
    pub(super) fn symlink(
        &mut self,
        path: &Inner,
        target: &[u8],
        metadata: &Metadata,
    ) -> Result<(), ImageError> {
        if target.is_empty() || target.contains(&0) {
            return Err(refused(format!("the symbolic link {:?} leads nowhere", path.shown())));
        }
        let (parent, name) = self.place(path)?;
        Self::clear(&parent, name, path)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), &parent, name)
            .map_err(|errno| failed(&format!("make the link {}", path.shown()), errno))?;
        self.describe_unopened(&parent, name, path, metadata, false)
    }

    /// Makes a named pipe.
    pub(super) fn pipe(&mut self, path: &Inner, metadata: &Metadata) -> Result<(), ImageError> {
        let (parent, name) = self.place(path)?;
        Self::clear(&parent, name, path)?;
        rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(|errno| failed(&format!("make the pipe {}", path.shown()), errno))?;
        self.describe_unopened(&parent, name, path, metadata, true)
    }

    /// Makes another name for a file of this layer.
    pub(super) fn hard_link(&mut self, path: &Inner, target: &Inner) -> Result<(), ImageError> {
        if path == target {
            return Ok(());
        }
        let (target_parent, target_name) = self.place(target)?;
        let found = stat(&target_parent, target_name)?.ok_or_else(|| {
            refused(format!("{:?} is a hard link to {:?}, which is not there", path.shown(), target.shown()))
        })?;
        if !matches!(
            FileType::from_raw_mode(found.st_mode),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) {
            return Err(refused(format!("{:?} is a hard link to something other than a file", path.shown())));
        }
        let (parent, name) = self.place(path)?;
        let same = stat(&parent, name)?
            .is_some_and(|other| (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino));
        if same {
            return Ok(());
        }
        Self::clear(&parent, name, path)?;
        rustix::fs::linkat(&target_parent, target_name, &parent, name, AtFlags::empty())
            .map_err(|errno| failed(&format!("make the hard link {}", path.shown()), errno))
    }

    /// Hides what lower layers have under this name, unless this layer has something there itself.
    pub(super) fn whiteout(&mut self, path: &Inner) -> Result<(), ImageError> {
        let (parent, name) = self.place(path)?;
        match stat(&parent, name)? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                self.hide_lower(path)
            }
            Some(_) => Ok(()),
            None => rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|errno| failed(&format!("make the whiteout {}", path.shown()), errno)),
        }
    }

    /// Hides everything that lower layers have in this directory.
    pub(super) fn hide_lower(&mut self, directory: &Inner) -> Result<(), ImageError> {
        let fd = self.directory_fd(directory)?;
        rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())
            .map_err(|errno| failed(&format!("make {} opaque", directory.shown()), errno))
    }

    fn describe(&self, fd: impl AsFd, metadata: &Metadata) -> Result<(), Errno> {
        let fd = fd.as_fd();
        if self.may_own {
            // Before the mode and the attributes: changing the owner clears setuid and capabilities.
            rustix::fs::fchown(fd, Some(uid(metadata)), Some(gid(metadata)))?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(metadata.mode & 0o7777))?;
        for (name, value) in &metadata.attributes {
            keep(rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()), name)?;
        }
        rustix::fs::futimens(fd, &times(metadata))
    }

    fn describe_unopened(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Inner,
        metadata: &Metadata,
        has_mode: bool,
    ) -> Result<(), ImageError> {
        let describe = || {
            if self.may_own {
                let nofollow = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(parent, name, Some(uid(metadata)), Some(gid(metadata)), nofollow)?;
            }
            if has_mode {
                rustix::fs::chmodat(
                    parent,
                    name,
                    Mode::from_raw_mode(metadata.mode & 0o7777),
                    AtFlags::empty(),
                )?;
            }
            let there = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
            for (name, value) in &metadata.attributes {
                let name_text = OsStr::from_bytes(name);
                keep(rustix::fs::lsetxattr(&there, name_text, value, XattrFlags::empty()), name)?;
            }
            rustix::fs::utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)
        };
        describe().map_err(|errno: Errno| failed(&format!("describe {}", path.shown()), errno))
    }
}

fn stat(parent: &OwnedFd, name: &OsStr) -> Result<Option<rustix::fs::Stat>, ImageError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("look at a file", errno)),
    }
}

fn is_whiteout(found: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// A `user.` attribute may be lost where the file system or the kind of file has none; a capability may not.
fn keep(result: Result<(), Errno>, name: &[u8]) -> Result<(), Errno> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM) if name.starts_with(b"user.") => Ok(()),
        other => other,
    }
}

fn uid(metadata: &Metadata) -> Uid {
    Uid::from_raw(metadata.uid)
}

fn gid(metadata: &Metadata) -> Gid {
    Gid::from_raw(metadata.gid)
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec { tv_sec: metadata.mtime.0, tv_nsec: i64::from(metadata.mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}
