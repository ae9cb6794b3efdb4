//! What a volume driver can do, in the shape of CSI 1.12.
//!
//! Every call is idempotent: made twice with the same arguments it succeeds twice and changes nothing the
//! second time. Made again with other arguments for the same name it is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Names a volume; given by the driver (`volume_id` of CSI).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VolumeId(pub String);

/// A volume to be made (`CreateVolumeRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateVolume {
    /// Name that makes the call idempotent: `pvc-<uid of the claim>`.
    pub name: String,
    /// Least capacity in bytes.
    pub capacity_bytes: u64,
    /// The class's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Node that must be able to use it; `None` where it does not matter.
    pub node: Option<String>,
}

/// A volume that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// Its capacity in bytes, at least what was asked.
    pub capacity_bytes: u64,
    /// What the driver wants back with every later call (`volume_context`).
    pub context: BTreeMap<String, String>,
    /// Node it is tied to; `None` when every node can use it.
    pub node: Option<String>,
}

/// A volume to be put before a pod (`NodePublishVolumeRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishVolume {
    /// Which volume.
    pub id: VolumeId,
    /// What the driver gave when it was made.
    pub context: BTreeMap<String, String>,
    /// Directory at which it is to appear; its parent is there, it may be.
    pub target_path: PathBuf,
    /// No writing.
    pub readonly: bool,
    /// Group that is to own new and existing files (`fsGroup`); `None` leaves them.
    pub fs_group: Option<u32>,
}

/// How full a volume is (`NodeGetVolumeStats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeStats {
    /// Bytes it can hold.
    pub total_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes free for unprivileged users.
    pub available_bytes: u64,
}

/// Why a driver could not do it; the variants are those gRPC codes of CSI that callers act on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriverError {
    /// The request is wrong and will stay so.
    #[error("{reason}")]
    InvalidArgument {
        /// What is wrong.
        reason: String,
    },
    /// There is no such volume.
    #[error("volume {id} is not there")]
    NotFound {
        /// Which one.
        id: String,
    },
    /// There is one of that name that does not fit.
    #[error("{reason}")]
    AlreadyExists {
        /// What does not fit.
        reason: String,
    },
    /// There is no room; another node may have some.
    #[error("{reason}")]
    ResourceExhausted {
        /// What is used up.
        reason: String,
    },
    /// The kernel or a file would not; trying again may help.
    #[error("{operation}: {reason}")]
    Failed {
        /// What was tried.
        operation: String,
        /// What came back.
        reason: String,
    },
}

/// A volume driver: controller and node side in one, as CSI plugins often are.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Name, as in `storageClass.provisioner` and `csi.driver`: `local.ordinal.dev`.
    fn name(&self) -> &'static str;

    /// Makes a volume.
    async fn create_volume(&self, request: CreateVolume) -> Result<Volume, DriverError>;
    /// Removes a volume and its content; a volume that is not there is no error.
    async fn delete_volume(&self, id: &VolumeId) -> Result<(), DriverError>;
    /// Removes a volume that holds nothing, as one does that was made and never used; `false` when it holds
    /// something or is in use, and then it stays. A volume that is not there is no error. CSI has no such
    /// call: it is what lets the leftovers of a crash go without any risk to what somebody has kept.
    async fn discard_empty(&self, id: &VolumeId) -> Result<bool, DriverError>;
    /// Every volume there is.
    async fn list_volumes(&self) -> Result<Vec<Volume>, DriverError>;

    /// Makes a volume appear at a path.
    async fn publish(&self, request: PublishVolume) -> Result<(), DriverError>;
    /// Undoes a publish; a path where nothing is published is no error.
    async fn unpublish(&self, id: &VolumeId, target_path: PathBuf) -> Result<(), DriverError>;
    /// How full a published volume is.
    async fn stats(&self, id: &VolumeId) -> Result<VolumeStats, DriverError>;
}
