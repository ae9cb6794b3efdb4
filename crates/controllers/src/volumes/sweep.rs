//! Volumes that nobody knows of: made for a claim by a try that a crash cut off before there was an object
//! for them, and the claim is gone since.
//!
//! They are looked for once, when the controller starts, in what the API itself says past every view. Only a
//! volume that bears the name of a claim's uid, that no claim has and no volume's object names, and that
//! holds nothing is removed: what somebody has kept by deleting an object with the policy `Retain` looks the
//! same but for its content.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Scope};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use model::status::Status;
use storage::driver::{Driver, DriverError, Volume, VolumeId};
use tokio_util::sync::CancellationToken;

use super::provision::NAME_PREFIX;

/// Pause after a sweep that failed; at the start of a cluster the API or the disk may need a moment.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Why a sweep failed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The API did not say what is there.
    #[error("list what names volumes: {0}")]
    Api(Status),
    /// The driver did not.
    #[error("look through the volumes")]
    Driver(#[source] DriverError),
}

/// Sweeps each driver's volumes once.
pub async fn run(client: Client, drivers: Vec<Arc<dyn Driver>>, stop: CancellationToken) {
    for driver in drivers {
        while let Err(error) = sweep(&client, &*driver).await {
            tracing::warn!(driver = driver.name(), "volumes that nobody knows are looked for again: {error}");
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }
}

/// Removes what a driver has made and nobody knows of. The volumes are listed first: a claim is there before
/// its volume, so that one which is not listed after it is gone.
pub async fn sweep(client: &Client, driver: &dyn Driver) -> Result<(), SweepError> {
    let made = driver.list_volumes().await.map_err(SweepError::Driver)?;
    let scope = Scope::default();
    let (claims, _) = client.list::<PersistentVolumeClaim>(&scope).await.map_err(SweepError::Api)?;
    let (volumes, _) = client.list::<PersistentVolume>(&scope).await.map_err(SweepError::Api)?;
    for id in orphans(&made, &claims, &volumes) {
        match driver.discard_empty(&id).await.map_err(SweepError::Driver)? {
            true => tracing::info!(volume = id.0, "removed a volume that was never used and nobody knows of"),
            false => tracing::info!(volume = id.0, "kept a volume that nobody knows of: it holds data"),
        }
    }
    Ok(())
}

/// The volumes that were made for claims which are gone, and that no object names.
pub fn orphans(
    made: &[Volume],
    claims: &[Arc<PersistentVolumeClaim>],
    volumes: &[Arc<PersistentVolume>],
) -> Vec<VolumeId> {
    let uids: HashSet<&str> = claims.iter().filter_map(|claim| claim.metadata.uid.as_deref()).collect();
    let named: HashSet<&str> = volumes.iter().flat_map(|volume| names(volume)).collect();
    let ids = made.iter().map(|volume| &volume.id);
    let is_orphan = |id: &&VolumeId| {
        let uid = id.0.strip_prefix(NAME_PREFIX);
        uid.is_some_and(|uid| !uid.is_empty() && !uids.contains(uid)) && !named.contains(id.0.as_str())
    };
    ids.filter(is_orphan).cloned().collect()
}

/// The driver's volumes that an object may mean: by its own name, and by what it refers to.
pub fn names(volume: &PersistentVolume) -> impl Iterator<Item = &str> {
    let handle =
        volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).map(|csi| csi.volume_handle.as_str());
    volume.metadata.name.as_deref().into_iter().chain(handle)
}
