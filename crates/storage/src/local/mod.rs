//! The built-in driver `local.ordinal.dev`: a volume is a directory of this machine.
//!
//! `<data dir>/volumes/<name>/volume.json` is the record, `data/` beside it the content. A volume is built
//! under a hidden name and renamed into place, and is renamed away before it is removed, so that a crash at
//! any step leaves either a whole volume or rubbish that the next [`LocalDriver::open`] sweeps up.
//! It must never follow a symbolic link that a pod may have put into a volume, and never remove a volume
//! that is mounted. Capacity is recorded, not enforced.
//!
//! Read next: [`directory`] (making and removing), [`ownership`] (`fsGroup`).

mod directory;
mod ownership;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::driver::{CreateVolume, Driver, DriverError, PublishVolume, Volume, VolumeId, VolumeStats};
use crate::mounts;

pub use ownership::apply_group;

/// Name of this driver.
pub const DRIVER_NAME: &str = "local.ordinal.dev";

/// The driver; cheap to clone.
#[derive(Debug, Clone)]
pub struct LocalDriver {
    volumes: Arc<PathBuf>,
}

impl LocalDriver {
    /// Opens the volumes under `data_dir`, making the directory where it is missing and sweeping up what a
    /// crash left half made or half removed.
    pub fn open(data_dir: impl AsRef<Path>) -> Result<LocalDriver, DriverError> {
        let volumes = data_dir.as_ref().join("volumes");
        std::fs::create_dir_all(&volumes).map_err(|error| failed("make the volume directory", &error))?;
        // The mount table knows no symbolic links in paths.
        let volumes = volumes.canonicalize().map_err(|error| failed("find the volume directory", &error))?;
        directory::sweep(&volumes)?;
        Ok(LocalDriver { volumes: Arc::new(volumes) })
    }

    /// Directory with a volume's content.
    pub fn content_path(&self, id: &VolumeId) -> PathBuf {
        self.volumes.join(&id.0).join(directory::CONTENT)
    }

    fn publish_blocking(&self, request: &PublishVolume) -> Result<(), DriverError> {
        directory::read(&self.volumes, &request.id)?;
        let content = self.content_path(&request.id);
        if let Some(group) = request.fs_group
            && !request.readonly
        {
            apply_group(&content, group).map_err(|error| failed("give the volume to its group", &error))?;
        }
        let target = &request.target_path;
        std::fs::create_dir_all(target).map_err(|error| failed("make the mount point", &error))?;
        let target = target.canonicalize().map_err(|error| failed("find the mount point", &error))?;
        let mounted = mounts::at(&target).map_err(|error| failed("read the mount table", &error))?;
        let Some(mounted) = mounted else {
            return mounts::bind(&content, &target, request.readonly)
                .map_err(|error| failed("mount the volume", &error));
        };
        if !same_directory(&content, &target) {
            let reason = format!("something else is mounted at {}", target.display());
            return Err(DriverError::AlreadyExists { reason });
        }
        match (mounted.readonly, request.readonly) {
            (false, true) => {
                mounts::set_readonly(&target).map_err(|error| failed("make the mount read-only", &error))
            }
            (true, false) => {
                let reason = format!("the volume is mounted read-only at {}", target.display());
                Err(DriverError::AlreadyExists { reason })
            }
            _ => Ok(()),
        }
    }

    fn unpublish_blocking(target: &Path) -> Result<(), DriverError> {
        let Ok(target) = target.canonicalize() else {
            return Ok(());
        };
        mounts::unmount_all_at(&target).map_err(|error| failed("unmount the volume", &error))?;
        match std::fs::remove_dir(&target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("remove the mount point", &error)),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalDriver) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let driver = self.clone();
        tokio::task::spawn_blocking(move || work(&driver)).await.unwrap_or_else(|error| {
            Err(DriverError::Failed { operation: "local driver".to_owned(), reason: error.to_string() })
        })
    }
}

#[async_trait]
impl Driver for LocalDriver {
    fn name(&self) -> &'static str {
        DRIVER_NAME
    }

    async fn create_volume(&self, request: CreateVolume) -> Result<Volume, DriverError> {
        self.blocking(move |driver| directory::create(&driver.volumes, &request)).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), DriverError> {
        let id = id.clone();
        self.blocking(move |driver| directory::delete(&driver.volumes, &id)).await
    }

    async fn discard_empty(&self, id: &VolumeId) -> Result<bool, DriverError> {
        let id = id.clone();
        self.blocking(move |driver| directory::discard_empty(&driver.volumes, &id)).await
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>, DriverError> {
        self.blocking(|driver| directory::list(&driver.volumes)).await
    }

    async fn publish(&self, request: PublishVolume) -> Result<(), DriverError> {
        self.blocking(move |driver| driver.publish_blocking(&request)).await
    }

    async fn unpublish(&self, _id: &VolumeId, target_path: PathBuf) -> Result<(), DriverError> {
        self.blocking(move |_| LocalDriver::unpublish_blocking(&target_path)).await
    }

    async fn stats(&self, id: &VolumeId) -> Result<VolumeStats, DriverError> {
        let id = id.clone();
        self.blocking(move |driver| {
            directory::read(&driver.volumes, &id)?;
            let stat = rustix::fs::statvfs(driver.content_path(&id))
                .map_err(|error| failed("read the volume's size", &error.into()))?;
            Ok(VolumeStats {
                total_bytes: stat.f_blocks * stat.f_frsize,
                used_bytes: (stat.f_blocks - stat.f_bfree) * stat.f_frsize,
                available_bytes: stat.f_bavail * stat.f_frsize,
            })
        })
        .await
    }
}

fn same_directory(left: &Path, right: &Path) -> bool {
    match (rustix::fs::stat(left), rustix::fs::stat(right)) {
        (Ok(left), Ok(right)) => (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino),
        _ => false,
    }
}

fn failed(operation: &str, error: &std::io::Error) -> DriverError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return DriverError::ResourceExhausted { reason: format!("{operation}: the disk is full") };
    }
    DriverError::Failed { operation: operation.to_owned(), reason: error.to_string() }
}
