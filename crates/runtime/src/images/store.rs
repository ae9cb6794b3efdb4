//! The image store: what [`crate::api::Images`] and [`crate::rootfs::Layers`] mean here.
//!
//! It never runs anything and knows no container; removing an image whose containers still run is the
//! caller's mistake.
//!
//! Read next: [`super::content`] (what is on disk), [`super::archive`] and [`super::pull`] (where images come
//! from).

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use oci_spec::image::ImageConfiguration;

use crate::api::{Image, ImageError, ImageId, Images, RegistryAuth};
use crate::rootfs::Layers;

use super::archive::{Archive, Archived};
use super::content::{Content, Record};
use super::digest::Digest;
use super::layer::{self, Expected};
use super::limits::Limits;
use super::pull;
use super::reference::Reference;
use super::registry::Registries;
use super::{documents, failed, refused};

/// Times an image is put together anew because somebody removed one of its layers meanwhile.
pub(super) const ASSEMBLY_TRIES_MAX: usize = 3;

/// What a store is opened with.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// A `registries.yaml` in the form k3s users know; `None` for none.
    pub registries: Option<PathBuf>,
    /// Bounds on what an image may bring.
    pub limits: Limits,
}

/// A node's images. Clones share everything.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) content: Content,
    pub(super) limits: Limits,
    pub(super) registries: Registries,
    /// One lock for each layer that is being had, so that it is fetched and unpacked once.
    assembling: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    /// Bounds the transfers that run at the same time, over all pulls.
    pub(super) transfers: tokio::sync::Semaphore,
    /// How many layers were unpacked since the store was opened.
    pub(super) unpacked: AtomicU64,
}

impl Store {
    /// Opens the store in this directory, makes it where it is missing and removes what a crash left.
    pub fn open(dir: impl AsRef<Path>, options: StoreOptions) -> Result<Self, ImageError> {
        let StoreOptions { registries, limits } = options;
        let registries = match registries {
            Some(path) => Registries::read(&path)?,
            None => Registries::default(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                content: Content::open(dir.as_ref())?,
                limits,
                registries,
                assembling: Mutex::new(HashMap::new()),
                transfers: tokio::sync::Semaphore::new(pull::TRANSFERS_MAX),
                unpacked: AtomicU64::new(0),
            }),
        })
    }
}

impl Shared {
    /// The lock of a layer.
    pub(super) fn layer_lock(&self, diff_id: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut assembling = self.assembling.lock().expect("nobody panics while holding it");
        assembling.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = assembling.get(diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        assembling.insert(diff_id.clone(), Arc::downgrade(&lock));
        lock
    }

    /// Unpacks a layer and puts it in its place; the caller holds its lock.
    pub(super) fn unpack(&self, expected: &Expected, source: impl Read) -> Result<u64, ImageError> {
        let directory = self.content.temporary_directory()?;
        let size = layer::unpack(source, expected, directory.path(), &self.limits)?;
        self.content.add_layer(&expected.diff_id, &directory, size)?;
        self.unpacked.fetch_add(1, Ordering::Relaxed);
        Ok(size)
    }

    /// Refuses an image whose layers are together too large.
    pub(super) fn check_size(&self, layers: &[(Digest, u64)]) -> Result<(), ImageError> {
        let size: u64 = layers.iter().map(|(_, size)| size).sum();
        if size > self.limits.image_bytes_max {
            return Err(refused(format!(
                "the image unpacks to more than {} bytes",
                self.limits.image_bytes_max
            )));
        }
        Ok(())
    }

    fn import(&self, path: &Path) -> Result<Vec<Image>, ImageError> {
        let archive = Archive::open(path)?;
        let archived = archive.images(&self.limits)?;
        if archived.is_empty() {
            return Err(refused("the archive holds no image".to_owned()));
        }
        let mut ids = Vec::new();
        for image in merged(archived) {
            self.import_image(&archive, &image)?;
            ids.push(image.config.0);
        }
        let index = self.content.index()?;
        Ok(ids.iter().filter_map(|id| index.image(id)).collect())
    }

    /// Removes the layers of an image that was not added, but for those that others use.
    pub(super) fn abandon(&self, layers: &[(Digest, u64)]) {
        if let Err(error) = self.content.remove_unused_layers(layers) {
            tracing::warn!(%error, "layers of an image that was refused stay until the next start");
        }
    }

    fn import_image(&self, archive: &Archive, image: &Archived) -> Result<Image, ImageError> {
        let (id, config) = &image.config;
        let mut record = Record { imported: true, ..Record::default() };
        for name in &image.names {
            record.tags.extend(name.tagged());
            record.digests.extend(image.digest.iter().map(|digest| name.pinned(digest)));
        }
        record.documents = image.documents.iter().map(|(digest, _)| digest.clone()).collect();
        let mut documents = image.documents.clone();
        documents.push((id.clone(), config.clone()));
        for _ in 0..ASSEMBLY_TRIES_MAX {
            record.layers.clear();
            if let Err(error) = self.import_layers(archive, image, &mut record.layers) {
                self.abandon(&record.layers);
                return Err(error);
            }
            if let Ok(image) = self.content.add_image(id, &record, &documents)? {
                return Ok(image);
            }
        }
        Err(failed("add the image", "its layers are being removed again and again"))
    }

    fn import_layers(
        &self,
        archive: &Archive,
        image: &Archived,
        layers: &mut Vec<(Digest, u64)>,
    ) -> Result<(), ImageError> {
        for (expected, member) in &image.layers {
            let lock = self.layer_lock(&expected.diff_id);
            let _held = lock.blocking_lock();
            let size = match self.content.layer_size(&expected.diff_id) {
                Some(size) => size,
                None => self.unpack(expected, archive.member(member)?)?,
            };
            layers.push((expected.diff_id.clone(), size));
            self.check_size(layers)?;
        }
        Ok(())
    }

    /// The image under this name, or with this id.
    fn find(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let index = self.content.index()?;
        if let Ok(id) = Digest::parse(reference) {
            return Ok(index.image(&id));
        }
        let reference = Reference::parse(reference)?;
        let found = index.images.iter().find(|(_, record)| match (reference.digest(), reference.tagged()) {
            (Some(digest), _) => record.digests.contains(&reference.pinned(digest)),
            (None, Some(tag)) => record.tags.contains(&tag),
            (None, None) => false,
        });
        Ok(found.and_then(|(id, _)| index.image(id)))
    }

    fn record(&self, image: &ImageId) -> Result<(Digest, Record), ImageError> {
        let missing = || ImageError::NotPresent { reference: image.0.clone() };
        let id = Digest::parse(&image.0).map_err(|_| missing())?;
        let record = self.content.index()?.images.remove(&id).ok_or_else(missing)?;
        Ok((id, record))
    }

    /// Runs something that waits for the disk where it does not hold up other tasks.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|error| Err(failed("work on images", error)))
    }
}

/// An archive has an entry for each name of an image; one of them with all the names will do.
fn merged(archived: Vec<Archived>) -> Vec<Archived> {
    let mut merged: Vec<Archived> = Vec::new();
    for image in archived {
        let is_same =
            |other: &&mut Archived| other.config.0 == image.config.0 && other.digest == image.digest;
        match merged.iter_mut().find(is_same) {
            Some(other) => other.names.extend(image.names),
            None => merged.push(image),
        }
    }
    merged
}

#[async_trait]
impl Images for Store {
    async fn image(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let reference = reference.to_owned();
        self.shared.blocking(move |shared| shared.find(&reference)).await
    }

    async fn pull(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Image, ImageError> {
        pull::pull(&self.shared, &Reference::parse(reference)?, auth).await
    }

    async fn list(&self) -> Result<Vec<Image>, ImageError> {
        let list = |shared: &Shared| {
            let index = shared.content.index()?;
            Ok(index.images.keys().filter_map(|id| index.image(id)).collect())
        };
        self.shared.blocking(list).await
    }

    async fn import(&self, archive: PathBuf) -> Result<Vec<Image>, ImageError> {
        self.shared.blocking(move |shared| shared.import(&archive)).await
    }

    async fn remove(&self, id: &ImageId) -> Result<(), ImageError> {
        let Ok(id) = Digest::parse(&id.0) else { return Ok(()) };
        self.shared.blocking(move |shared| shared.content.remove_image(&id)).await
    }
}

impl Layers for Store {
    fn image_config(&self, image: &ImageId) -> Result<ImageConfiguration, ImageError> {
        let (id, _) = self.shared.record(image)?;
        let missing = || ImageError::NotPresent { reference: id.to_string() };
        let bytes = self.shared.content.document(&id)?.ok_or_else(missing)?;
        documents::parse("the image's configuration", &bytes)
    }

    fn layer_dirs(&self, image: &ImageId) -> Result<Vec<PathBuf>, ImageError> {
        let (_, record) = self.shared.record(image)?;
        // overlayfs refuses a directory named twice; the upper of two equal layers hides the lower.
        let last: BTreeMap<&Digest, usize> =
            record.layers.iter().enumerate().map(|(place, (digest, _))| (digest, place)).collect();
        let kept = record.layers.iter().enumerate().filter(|(place, (digest, _))| last[digest] == *place);
        Ok(kept.map(|(_, (digest, _))| self.shared.content.layer_directory(digest)).collect())
    }
}
