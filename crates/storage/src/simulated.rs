//! A volume driver that is only values, for the simulated runtime: nothing is mounted, nothing is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::driver::{CreateVolume, Driver, DriverError, PublishVolume, Volume, VolumeId, VolumeStats};

/// Gives every volume that is asked for, under the name of the local driver.
#[derive(Default)]
pub struct SimulatedDriver {
    volumes: Mutex<BTreeMap<VolumeId, Volume>>,
}

impl SimulatedDriver {
    /// A driver without volumes.
    pub fn new() -> SimulatedDriver {
        SimulatedDriver::default()
    }
}

#[async_trait]
impl Driver for SimulatedDriver {
    fn name(&self) -> &'static str {
        "local.ordinal.dev"
    }

    async fn create_volume(&self, request: CreateVolume) -> Result<Volume, DriverError> {
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let id = VolumeId(request.name);
        if let Some(volume) = volumes.get(&id) {
            if volume.capacity_bytes < request.capacity_bytes {
                let reason = format!("volume {} is there with less capacity", id.0);
                return Err(DriverError::AlreadyExists { reason });
            }
            return Ok(volume.clone());
        }
        let volume = Volume {
            id: id.clone(),
            capacity_bytes: request.capacity_bytes,
            context: BTreeMap::new(),
            node: request.node,
        };
        volumes.insert(id, volume.clone());
        Ok(volume)
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), DriverError> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    async fn discard_empty(&self, id: &VolumeId) -> Result<bool, DriverError> {
        self.delete_volume(id).await.map(|()| true)
    }

    async fn list_volumes(&self) -> Result<Vec<Volume>, DriverError> {
        Ok(self.volumes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    // Volumes of an earlier run are not known any more; to a pod that is only a value that is no matter.
    async fn publish(&self, _request: PublishVolume) -> Result<(), DriverError> {
        Ok(())
    }

    async fn unpublish(&self, _id: &VolumeId, _target_path: PathBuf) -> Result<(), DriverError> {
        Ok(())
    }

    async fn stats(&self, id: &VolumeId) -> Result<VolumeStats, DriverError> {
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let volume = volumes.get(id).ok_or_else(|| DriverError::NotFound { id: id.0.clone() })?;
        let total_bytes = volume.capacity_bytes;
        Ok(VolumeStats { total_bytes, used_bytes: 0, available_bytes: total_bytes })
    }
}
