//! What is on disk: blobs, unpacked layers and the index, and the order in which they come and go.
//!
//! ```text
//! images.json             which image has which tags, digests and layers; replaced as a whole
//! blobs/sha256/<hex>      manifests and configurations
//! layers/<diff id>/       one unpacked layer; layers/<diff id>.json says how large it is
//! temp/<session>/         what is not finished; locked by the process that writes there
//! lock                    held while the index changes
//! ```
//!
//! Everything is written under `temp` and renamed; the index names only what is complete and on disk. So a
//! crash leaves temporary directories and layers that nobody names, and [`Content::open`] removes both.
//! Several processes may use the same directory.
//!
//! Read next: [`super::store`] (who uses it).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::api::{Image, ImageError, ImageId};

use super::digest::Digest;
use super::failed;

/// One image in the index.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) tags: BTreeSet<String>,
    pub(super) digests: BTreeSet<String>,
    /// Manifests and other documents beside the configuration that are kept with it.
    pub(super) documents: BTreeSet<Digest>,
    /// Lowest first, with their unpacked sizes.
    pub(super) layers: Vec<(Digest, u64)>,
    /// It came from an archive, and no registry gave it since.
    #[serde(default)]
    pub(super) imported: bool,
}

/// All images, by the digest of their configuration.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) images: BTreeMap<Digest, Record>,
}

impl Index {
    pub(super) fn image(&self, id: &Digest) -> Option<Image> {
        self.images.get(id).map(|record| Image {
            id: ImageId(id.to_string()),
            tags: record.tags.iter().cloned().collect(),
            digests: record.digests.iter().cloned().collect(),
            size_bytes: record.layers.iter().map(|(_, size)| size).sum(),
            imported: record.imported,
        })
    }

    fn uses_layer(&self, layer: &Digest) -> bool {
        self.images.values().any(|record| record.layers.iter().any(|(digest, _)| digest == layer))
    }

    fn uses_document(&self, document: &Digest) -> bool {
        self.images.contains_key(document)
            || self.images.values().any(|record| record.documents.contains(document))
    }
}

/// The directory.
#[derive(Debug)]
pub(super) struct Content {
    root: PathBuf,
    session: PathBuf,
    /// Locked for as long as this process may write in its session.
    _session_lock: File,
    next: AtomicU64,
}

/// How large a layer is, beside it.
#[derive(Serialize, Deserialize)]
struct LayerNote {
    size_bytes: u64,
}

impl Content {
    /// Opens the directory, makes it where it is missing and removes what a crash left.
    pub(super) fn open(root: &Path) -> Result<Self, ImageError> {
        for part in ["blobs/sha256", "layers", "temp"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(|error| failed(&format!("make {}", path.display()), error))?;
        }
        let lock = lock(root)?;
        let alone = remove_dead_sessions(&root.join("temp"))?;
        let (session, session_lock) = make_session(&root.join("temp"))?;
        let content =
            Self { root: root.to_owned(), session, _session_lock: session_lock, next: AtomicU64::new(0) };
        if alone {
            content.remove_unnamed()?;
        }
        drop(lock);
        Ok(content)
    }

    /// A path of its own that nobody else uses, removed at the next start if it is left.
    pub(super) fn temporary(&self) -> PathBuf {
        self.session.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// An empty directory of its own.
    pub(super) fn temporary_directory(&self) -> Result<Temporary, ImageError> {
        let path = self.temporary();
        fs::create_dir(&path).map_err(|error| failed("make a temporary directory", error))?;
        Ok(Temporary(path))
    }

    /// The index as it is now.
    pub(super) fn index(&self) -> Result<Index, ImageError> {
        let path = self.root.join("images.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                failed(&format!("read {} (move it away to begin anew)", path.display()), error)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            Err(error) => Err(failed(&format!("read {}", path.display()), error)),
        }
    }

    /// Where a layer is, or will be.
    pub(super) fn layer_directory(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    fn layer_note(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(format!("{}.json", diff_id.hex()))
    }

    /// The size of a layer that is here.
    pub(super) fn layer_size(&self, diff_id: &Digest) -> Option<u64> {
        if !self.layer_directory(diff_id).is_dir() {
            return None;
        }
        let note: LayerNote = serde_json::from_slice(&fs::read(self.layer_note(diff_id)).ok()?).ok()?;
        Some(note.size_bytes)
    }

    /// Moves an unpacked layer to its place.
    pub(super) fn add_layer(
        &self,
        diff_id: &Digest,
        unpacked: &Temporary,
        size_bytes: u64,
    ) -> Result<(), ImageError> {
        let note = serde_json::to_vec(&LayerNote { size_bytes }).expect("a number can be written");
        self.write(&self.layer_note(diff_id), &note)?;
        match fs::rename(unpacked.path(), self.layer_directory(diff_id)) {
            Ok(()) => Ok(()),
            // Another process was faster; what it has is the same.
            Err(_) if self.layer_directory(diff_id).is_dir() => Ok(()),
            Err(error) => Err(failed("move a layer to its place", error)),
        }
    }

    /// A document that is here, not yet verified again.
    pub(super) fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ImageError> {
        match fs::read(self.document_path(digest)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&format!("read the document {digest}"), error)),
        }
    }

    fn document_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Adds an image under these names, taking its tags from whoever had them. Gives the layers that are
    /// missing instead, if somebody removed some in the meantime.
    pub(super) fn add_image(
        &self,
        id: &Digest,
        names: &Record,
        documents: &[(Digest, Vec<u8>)],
    ) -> Result<Result<Image, Vec<Digest>>, ImageError> {
        let _lock = lock(&self.root)?;
        let missing: Vec<Digest> = names
            .layers
            .iter()
            .map(|(digest, _)| digest.clone())
            .filter(|digest| self.layer_size(digest).is_none())
            .collect();
        if !missing.is_empty() {
            return Ok(Err(missing));
        }
        for (digest, bytes) in documents {
            self.write(&self.document_path(digest), bytes)?;
        }
        // The index may only name what survives a power loss: one flush for all the layers' files.
        let root = File::open(&self.root).map_err(|error| failed("open the image directory", error))?;
        rustix::fs::syncfs(&root).map_err(|errno| failed("flush the image directory", errno))?;
        let mut index = self.index()?;
        for record in index.images.values_mut() {
            record.tags.retain(|tag| !names.tags.contains(tag));
        }
        let record = index.images.entry(id.clone()).or_default();
        record.tags.extend(names.tags.iter().cloned());
        record.digests.extend(names.digests.iter().cloned());
        record.documents.extend(names.documents.iter().cloned());
        record.layers.clone_from(&names.layers);
        record.imported = names.imported;
        self.write_index(&index)?;
        Ok(Ok(index.image(id).expect("it was just put there")))
    }

    /// Forgets an image and removes what nobody else uses.
    pub(super) fn remove_image(&self, id: &Digest) -> Result<(), ImageError> {
        let _lock = lock(&self.root)?;
        let mut index = self.index()?;
        let Some(record) = index.images.remove(id) else { return Ok(()) };
        self.write_index(&index)?;
        for (layer, _) in record.layers.iter().filter(|(layer, _)| !index.uses_layer(layer)) {
            self.remove_layer(layer)?;
        }
        for document in record.documents.iter().chain([id]) {
            if !index.uses_document(document) {
                remove_file(&self.document_path(document))?;
            }
        }
        Ok(())
    }

    /// Removes those of these layers that no image uses.
    pub(super) fn remove_unused_layers(&self, layers: &[(Digest, u64)]) -> Result<(), ImageError> {
        let _lock = lock(&self.root)?;
        let index = self.index()?;
        for (layer, _) in layers.iter().filter(|(layer, _)| !index.uses_layer(layer)) {
            self.remove_layer(layer)?;
        }
        Ok(())
    }

    fn remove_layer(&self, layer: &Digest) -> Result<(), ImageError> {
        let away = Temporary(self.temporary());
        match fs::rename(self.layer_directory(layer), away.path()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("move a layer away", error)),
        }
        remove_file(&self.layer_note(layer))
    }

    /// Removes layers and documents that the index does not name: a crash came before their image was added.
    fn remove_unnamed(&self) -> Result<(), ImageError> {
        let index = self.index()?;
        for hex in names(&self.root.join("layers"))? {
            let hex = hex.strip_suffix(".json").unwrap_or(&hex);
            if let Ok(digest) = Digest::parse(&format!("sha256:{hex}"))
                && !index.uses_layer(&digest)
            {
                self.remove_layer(&digest)?;
            }
        }
        for hex in names(&self.root.join("blobs/sha256"))? {
            if let Ok(digest) = Digest::parse(&format!("sha256:{hex}"))
                && !index.uses_document(&digest)
            {
                remove_file(&self.document_path(&digest))?;
            }
        }
        Ok(())
    }

    fn write_index(&self, index: &Index) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec_pretty(index).expect("text and numbers can be written");
        self.write(&self.root.join("images.json"), &bytes)?;
        let root = File::open(&self.root).map_err(|error| failed("open the image directory", error))?;
        root.sync_all().map_err(|error| failed("flush the image directory", error))
    }

    /// Replaces a file as a whole.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let temporary = Temporary(self.temporary());
        let written = File::create(temporary.path())
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(temporary.path(), path));
        written.map_err(|error| failed(&format!("write {}", path.display()), error))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.session);
    }
}

/// Something under `temp` that goes away with this value, unless it was renamed before.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Takes charge of a path.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let removed = match fs::symlink_metadata(&self.0) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&self.0),
            Ok(_) => fs::remove_file(&self.0),
            Err(_) => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %self.0.display(), %error, "a temporary file stays until the next start");
        }
    }
}

fn lock(root: &Path) -> Result<File, ImageError> {
    let path = root.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| failed(&format!("open {}", path.display()), error))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock the images", errno))?;
    Ok(file)
}

/// Removes the sessions of processes that are gone; tells whether there is no other.
fn remove_dead_sessions(temp: &Path) -> Result<bool, ImageError> {
    let mut alone = true;
    for name in names(temp)? {
        let path = temp.join(name);
        let Ok(directory) = File::open(&path) else { continue };
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => fs::remove_dir_all(&path)
                .map_err(|error| failed(&format!("remove what is left in {}", path.display()), error))?,
            Err(_) => alone = false,
        }
    }
    Ok(alone)
}

fn make_session(temp: &Path) -> Result<(PathBuf, File), ImageError> {
    let process = std::process::id();
    // A process opens a handful of stores at most: each takes the first number that is free.
    for number in 0..1024 {
        let path = temp.join(format!("{process}-{number}"));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make a temporary directory", error)),
            Ok(()) => {
                let directory =
                    File::open(&path).map_err(|error| failed("open a temporary directory", error))?;
                rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)
                    .map_err(|errno| failed("lock a temporary directory", errno))?;
                return Ok((path, directory));
            }
        }
    }
    Err(failed("make a temporary directory", "this process has too many image stores open"))
}

fn names(directory: &Path) -> Result<Vec<String>, ImageError> {
    let read = || {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<String>>>()
    };
    read().map_err(|error| failed(&format!("read {}", directory.display()), error))
}

fn remove_file(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(&format!("remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}
