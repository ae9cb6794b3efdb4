//! Unpacking a layer into a directory for overlayfs, holding it against its digests and the limits on
//! the way.
//!
//! The directory it writes to is nobody else's yet: whoever calls throws it away on an error and renames it
//! into place on success, so nothing half-unpacked or refused is ever seen.
//!
//! Read next: [`super::tree`] (how it is written), [`super::tarball`] (how it is read).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::EntryType;

use crate::api::ImageError;

use super::digest::{Digest, HashingReader};
use super::limits::Limits;
use super::tarball::{Entry, Tarball};
use super::tree::{Inner, Metadata, Tree};
use super::{read_error, refused};

/// What a layer must turn out to be.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// Digest and size as it is stored, where a manifest says so.
    pub(super) blob: Option<(Digest, u64)>,
    /// Digest of the tar stream in it.
    pub(super) diff_id: Digest,
}

/// Names that hide lower layers begin so.
const WHITEOUT: &[u8] = b".wh.";

/// Hides everything below in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Book-keeping of another union file system; of no meaning here.
const FOREIGN: &[u8] = b".wh..wh.";

/// Unpacks into the empty directory `root`; gives the bytes of the files.
pub(super) fn unpack<'a>(
    source: impl Read + 'a,
    expected: &Expected,
    root: &Path,
    limits: &Limits,
) -> Result<u64, ImageError> {
    let mut stored = BufReader::with_capacity(256 << 10, HashingReader::new(source));
    let magic = stored.fill_buf().map_err(|error| read_error(&error))?;
    let (gzip, zstd) = (magic.starts_with(&[0x1f, 0x8b]), magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let plain: Box<dyn Stored + 'a> = if gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(stored))
    } else if zstd {
        let decoder = zstd::stream::read::Decoder::with_buffer(stored);
        Box::new(decoder.map_err(|error| read_error(&error))?)
    } else {
        Box::new(stored)
    };
    let mut archive = Tarball::new(HashingReader::new(Bounded { plain, limits: *limits, count: 0 }));
    let size = write(&mut archive, root, limits)?;
    let (diff_id, stored) = {
        let hashed = archive.drain()?;
        hashed.finish_with(|bounded| bounded.plain.stored())
    };
    let (blob, blob_size) = stored?;
    if let Some((digest, size)) = &expected.blob
        && (*digest != blob || *size != blob_size)
    {
        return Err(refused(format!(
            "a layer should be {size} bytes with the digest {digest} and is {blob_size} bytes with {blob}"
        )));
    }
    if diff_id != expected.diff_id {
        return Err(refused(format!(
            "a layer should unpack to {} and unpacks to {diff_id}",
            expected.diff_id
        )));
    }
    Ok(size)
}

/// A decoder that knows how much was read of what is stored, and its digest in the end.
trait Stored: Read {
    fn stored_count(&self) -> u64;
    fn stored(self: Box<Self>) -> Result<(Digest, u64), ImageError>;
}

type Source<R> = BufReader<HashingReader<R>>;

fn rest<R: Read>(mut source: Source<R>) -> Result<(Digest, u64), ImageError> {
    io::copy(&mut source, &mut io::sink()).map_err(|error| read_error(&error))?;
    Ok(source.into_inner().finish())
}

impl<R: Read> Stored for Source<R> {
    fn stored_count(&self) -> u64 {
        self.get_ref().count()
    }

    fn stored(self: Box<Self>) -> Result<(Digest, u64), ImageError> {
        rest(*self)
    }
}

impl<R: Read> Stored for flate2::bufread::MultiGzDecoder<Source<R>> {
    fn stored_count(&self) -> u64 {
        self.get_ref().get_ref().count()
    }

    fn stored(self: Box<Self>) -> Result<(Digest, u64), ImageError> {
        rest(self.into_inner())
    }
}

impl<R: Read> Stored for zstd::stream::read::Decoder<'static, Source<R>> {
    fn stored_count(&self) -> u64 {
        self.get_ref().get_ref().count()
    }

    fn stored(self: Box<Self>) -> Result<(Digest, u64), ImageError> {
        rest(self.finish())
    }
}

/// Stops a stream that unpacks to more than is allowed.
struct Bounded<'a> {
    plain: Box<dyn Stored + 'a>,
    limits: Limits,
    count: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.count += count as u64;
        let Limits { layer_bytes_max, ratio_max, ratio_free_bytes, .. } = self.limits;
        if self.count > layer_bytes_max {
            let reason = format!("a layer unpacks to more than {layer_bytes_max} bytes");
            return Err(io::Error::other(refused(reason)));
        }
        if self.count > ratio_free_bytes && self.count / self.plain.stored_count().max(1) > ratio_max {
            let reason = format!("a layer unpacks to more than {ratio_max} times its size");
            return Err(io::Error::other(refused(reason)));
        }
        Ok(count)
    }
}

fn write(archive: &mut Tarball<impl Read>, root: &Path, limits: &Limits) -> Result<u64, ImageError> {
    let mut tree = Tree::new(root)?;
    let mut directories: BTreeMap<Inner, Metadata> = BTreeMap::new();
    // A layer without an entry for its own root must not make the container's root private.
    let root_metadata = Metadata { uid: 0, gid: 0, mode: 0o755, mtime: (0, 0), attributes: Vec::new() };
    directories.insert(Inner::parse(b"")?, root_metadata);
    let (mut size, mut entries) = (0, 0);
    while let Some(entry) = archive.entry()? {
        entries += 1;
        if entries > limits.layer_entries_max {
            return Err(refused(format!("a layer has more than {} entries", limits.layer_entries_max)));
        }
        let path = Inner::parse(&entry.path)?;
        if let Some((parent, name)) = path.split()
            && name.as_bytes().starts_with(WHITEOUT)
        {
            hide(&mut tree, &parent, name.as_bytes())?;
            continue;
        }
        match entry.kind {
            EntryType::Directory => {
                tree.directory(&path)?;
                directories.insert(path, metadata(&entry)?);
            }
            EntryType::Regular | EntryType::Continuous => {
                let metadata = metadata(&entry)?;
                let written = tree.file(&path, &metadata, &mut *archive)?;
                assert_eq!(written, entry.size, "the reader gives all of an entry or an error");
                size += written;
            }
            EntryType::Symlink => tree.symlink(&path, &entry.link, &metadata(&entry)?)?,
            EntryType::Link => tree.hard_link(&path, &Inner::parse(&entry.link)?)?,
            EntryType::Fifo => tree.pipe(&path, &metadata(&entry)?)?,
            EntryType::Char | EntryType::Block => {
                let path = String::from_utf8_lossy(&entry.path);
                return Err(refused(format!("{path:?} is a device node")));
            }
            other => return Err(refused(format!("an entry is of the unknown kind {:?}", other.as_byte()))),
        }
    }
    for (path, metadata) in directories.iter().rev() {
        tree.finish_directory(path, metadata)?;
    }
    Ok(size)
}

fn hide(tree: &mut Tree, parent: &Inner, name: &[u8]) -> Result<(), ImageError> {
    if name == OPAQUE {
        return tree.hide_lower(parent);
    }
    if name.starts_with(FOREIGN) {
        return Ok(());
    }
    let hidden = &name[WHITEOUT.len()..];
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(refused(format!("{:?} hides no name", String::from_utf8_lossy(name))));
    }
    tree.whiteout(&parent.join(OsStr::from_bytes(hidden)))
}

fn metadata(entry: &Entry) -> Result<Metadata, ImageError> {
    let id = |id: u64| {
        // The last one means "leave as it is" to the kernel.
        u32::try_from(id)
            .ok()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| refused(format!("{id} is no user or group")))
    };
    let mut attributes = Vec::new();
    for (name, value) in &entry.attributes {
        if name.starts_with(b"trusted.") {
            // These tell overlayfs where to look: an image may not.
            let name = String::from_utf8_lossy(name);
            return Err(refused(format!(
                "{:?} has the attribute {name}",
                String::from_utf8_lossy(&entry.path)
            )));
        }
        let kept = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if kept || name == b"security.capability" {
            attributes.push((name.clone(), value.clone()));
        }
    }
    Ok(Metadata {
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mode: entry.mode,
        mtime: entry.mtime,
        attributes,
    })
}
