//! The volumes of a pod: making each appear on the host, and removing them.
//!
//! Everything of a pod lies below `<root>/pod-data/<uid>`: `volumes/<name>` is a volume's root, with the
//! driver's record `csi/<name>.json` beside it, `subpaths/` holds mounts of parts of volumes. Mounting is
//! idempotent and is done again after a restart. Taking down works from what is on the disk and in the
//! mount table, not from the pod, so that it serves orphans too.
//!
//! Read next: [`payload`] and [`atomic`] (content from the API), [`subpath`].

pub mod atomic;
pub mod payload;
pub mod subpath;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Client;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, Volume,
};
use model::quantity::Quantity;
use rustix::fs::{FileType, Mode};
use rustix::mount::MountFlags;
use serde::{Deserialize, Serialize};
use storage::driver::{Driver, PublishVolume, VolumeId};
use storage::mounts;

use crate::env::{Facts, Sources};
use crate::machine::Machine;
use crate::view::MountedVolume;

/// A volume could not be mounted; the text is that of the `FailedMount` event.
#[derive(Debug, Clone, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
pub struct MountError {
    /// Which volume.
    pub volume: String,
    /// Why.
    pub reason: String,
}

/// What a driver's volume needs to be unpublished.
#[derive(Debug, Serialize, Deserialize)]
struct Published {
    driver: String,
    id: VolumeId,
}

/// Mounts and unmounts the volumes of pods.
#[derive(Clone)]
pub struct Mounter {
    /// Directory of all pods' data.
    pub data: PathBuf,
    /// The volume drivers.
    pub drivers: Vec<Arc<dyn Driver>>,
    /// For claims and volumes.
    pub client: Client,
    /// Where files are made.
    pub machine: Machine,
}

impl Mounter {
    /// Directory of one pod.
    pub fn pod_directory(&self, uid: &str) -> PathBuf {
        self.data.join(uid)
    }

    /// Makes every volume of a pod appear; content from the API is brought up to date.
    pub async fn mount_all(
        &self,
        pod: &Pod,
        sources: &Sources,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<BTreeMap<String, MountedVolume>, MountError> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let directory = self.pod_directory(&uid).join("volumes");
        let mut mounted = BTreeMap::new();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let fail = |reason: String| MountError { volume: volume.name.clone(), reason };
            let target = directory.join(&volume.name);
            let one = if let Some(claim) = &volume.persistent_volume_claim {
                let readonly = claim.read_only == Some(true);
                self.mount_claim(pod, volume, &claim.claim_name, readonly, &target).await.map_err(fail)?
            } else if let Some(ephemeral) = volume.ephemeral.as_ref().map(|_| ()) {
                let () = ephemeral;
                let claim = format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name);
                self.mount_claim(pod, volume, &claim, false, &target).await.map_err(fail)?
            } else {
                let files =
                    payload::of(pod, volume, sources, facts).map_err(|error| fail(error.to_string()))?;
                let (volume, group, pod_uid) = (volume.clone(), fs_group(pod), uid.clone());
                let work = move || mount_plain(&volume, files, group, &target, &pod_uid, now);
                self.machine.run(work).await.map_err(|error| fail(error.to_string()))?
            };
            mounted.insert(volume.name.clone(), one);
        }
        Ok(mounted)
    }

    async fn mount_claim(
        &self,
        pod: &Pod,
        volume: &Volume,
        claim_name: &str,
        readonly: bool,
        target: &Path,
    ) -> Result<MountedVolume, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claim = self.client.get::<PersistentVolumeClaim>(namespace, claim_name).await;
        let claim = claim.map_err(|status| status.to_string())?;
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let bound_to = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).unwrap_or_default();
        if phase != Some("Bound") || bound_to.is_empty() {
            return Err(format!("claim {namespace}/{claim_name} is not bound yet"));
        }
        let persistent = self.client.get::<PersistentVolume>("", &bound_to).await;
        let persistent = persistent.map_err(|status| status.to_string())?;
        let spec = persistent.spec.clone().unwrap_or_default();
        let claimed_by = spec.claim_ref.as_ref().and_then(|reference| reference.uid.as_ref());
        if claimed_by.is_some() && claimed_by != claim.metadata.uid.as_ref() {
            return Err(format!("volume {bound_to} belongs to another claim"));
        }
        let group = fs_group(pod);
        if let Some(csi) = &spec.csi {
            let driver = self.drivers.iter().find(|driver| driver.name() == csi.driver).ok_or_else(|| {
                format!("driver name {} not found in the list of registered CSI drivers", csi.driver)
            })?;
            let id = VolumeId(csi.volume_handle.clone());
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            self.record(uid, &volume.name, driver.name(), &id).await.map_err(|error| error.to_string())?;
            let readonly = readonly || csi.read_only == Some(true);
            let request = PublishVolume {
                id,
                context: csi.volume_attributes.clone().unwrap_or_default(),
                target_path: target.to_owned(),
                readonly,
                fs_group: group,
            };
            driver.publish(request).await.map_err(|error| error.to_string())?;
            return Ok(MountedVolume { path: target.to_owned(), readonly });
        }
        let source = match (&spec.local, &spec.host_path) {
            (Some(local), _) => PathBuf::from(&local.path),
            (None, Some(host_path)) => PathBuf::from(&host_path.path),
            (None, None) => return Err(format!("volume {bound_to} is of a type this node cannot mount")),
        };
        if spec.host_path.is_some() {
            let directory = source.clone();
            let made = self.machine.run(move || fs::create_dir_all(directory)).await;
            made.map_err(|error| format!("make {}: {error}", source.display()))?;
        }
        let path = source.clone();
        if self.machine.run(move || fs::metadata(path)).await.is_err() {
            return Err(format!("path {:?} does not exist", source.display().to_string()));
        }
        if let Some(group) = group.filter(|_| !readonly && spec.local.is_some()) {
            let path = source.clone();
            let give = move || storage::local::apply_group(&path, group);
            let given = self.machine.run(give).await;
            given.map_err(|error| format!("give the volume to its group: {error}"))?;
        }
        Ok(MountedVolume { path: source, readonly })
    }

    /// Written before publishing: a crash in between leaves a record too many, never one too few.
    async fn record(&self, uid: &str, volume: &str, driver: &str, id: &VolumeId) -> io::Result<()> {
        let (directory, volumes) =
            (self.pod_directory(uid).join("csi"), self.pod_directory(uid).join("volumes"));
        let published = Published { driver: driver.to_owned(), id: id.clone() };
        let text = serde_json::to_vec(&published).map_err(io::Error::other)?;
        let name = format!("{volume}.json");
        let write = move || {
            fs::create_dir_all(&directory)?;
            fs::create_dir_all(volumes)?;
            fs::write(directory.join(name), text)
        };
        self.machine.run(write).await
    }

    /// Unpublishes and unmounts everything of a pod and removes its directory.
    pub async fn unmount_all(&self, uid: &str) -> Result<(), String> {
        if !mounts::is_plain_name(uid) {
            return Err(format!("{uid:?} is not the uid of a pod"));
        }
        let directory = self.pod_directory(uid);
        let (records, parts) = (directory.join("csi"), directory.join("subpaths"));
        let text = |error: io::Error| error.to_string();
        let is_there = directory.clone();
        let prepare = move || {
            if fs::symlink_metadata(is_there).is_err() {
                return Ok(None);
            }
            let records = read_records(&records)?;
            // Parts of volumes are mounted from them and go first.
            mounts::unmount_beneath(&canonical(&parts))?;
            Ok(Some(records))
        };
        let Some(records) = self.machine.run(prepare).await.map_err(text)? else { return Ok(()) };
        for (name, text) in records {
            let Ok(published) = serde_json::from_slice::<Published>(&text) else {
                // A crash cut the record short: it was never published then.
                continue;
            };
            if let Some(driver) = self.drivers.iter().find(|driver| driver.name() == published.driver) {
                let target = directory.join("volumes").join(name);
                driver.unpublish(&published.id, target).await.map_err(|error| error.to_string())?;
            }
        }
        self.machine.run(move || remove_pod_directory(&canonical(&directory))).await.map_err(text)
    }
}

/// The records of what is published, by the volume's name in the pod, in the order of the names.
fn read_records(directory: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut records = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().trim_end_matches(".json").to_owned();
        records.insert(name, fs::read(entry.path())?);
    }
    Ok(records)
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Removes a pod's directory, and refuses to while anything is mounted below it: that would remove the
/// content of volumes.
pub(crate) fn remove_pod_directory(directory: &Path) -> io::Result<()> {
    mounts::unmount_beneath(directory)?;
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The group that owns the pod's volumes.
pub fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn mount_plain(
    volume: &Volume,
    files: Option<atomic::Payload>,
    group: Option<u32>,
    target: &Path,
    uid: &str,
    now: Timestamp,
) -> io::Result<MountedVolume> {
    if let Some(files) = files {
        fs::create_dir_all(target)?;
        atomic::write(target, &files, group, now)?;
        return Ok(MountedVolume { path: target.to_owned(), readonly: true });
    }
    if let Some(source) = &volume.host_path {
        return host_path(source);
    }
    if let Some(source) = &volume.empty_dir {
        empty_dir(source, group, target, uid)?;
        return Ok(MountedVolume { path: target.to_owned(), readonly: false });
    }
    Err(io::Error::other("the type of this volume is not supported"))
}

fn empty_dir(source: &EmptyDirVolumeSource, group: Option<u32>, target: &Path, uid: &str) -> io::Result<()> {
    let is_new = !target.exists();
    fs::create_dir_all(target)?;
    if source.medium.as_deref() == Some("Memory") && mounts::at(&canonical(target))?.is_none() {
        let bytes = source.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
        let options = match bytes.map(|bytes| bytes.value()).filter(|bytes| *bytes > 0) {
            Some(bytes) => format!("mode=0777,size={bytes}"),
            None => "mode=0777".to_owned(),
        };
        let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
        // The pod's uid as the source makes the mount findable by people.
        rustix::mount::mount(uid, target, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
    }
    if is_new {
        rustix::fs::chmod(target, Mode::from_raw_mode(0o777))?;
    }
    if let Some(group) = group {
        storage::local::apply_group(target, group)?;
    }
    Ok(())
}

fn host_path(source: &HostPathVolumeSource) -> io::Result<MountedVolume> {
    let path = PathBuf::from(&source.path);
    let wanted = source.type_.as_deref().unwrap_or_default();
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(io::Error::other("a hostPath may not contain '..'"));
    }
    let found = rustix::fs::stat(&path).ok().map(|stat| FileType::from_raw_mode(stat.st_mode));
    match (wanted, found) {
        ("DirectoryOrCreate", None) => fs::create_dir_all(&path)?,
        ("FileOrCreate", None) => drop(fs::File::create_new(&path)?),
        // Without a type nothing is checked; container runtimes make a directory then.
        ("", None) => fs::create_dir_all(&path)?,
        _ => {}
    }
    let found = rustix::fs::stat(&path).ok().map(|stat| FileType::from_raw_mode(stat.st_mode));
    let (fits, noun) = match wanted {
        "Directory" | "DirectoryOrCreate" => (found == Some(FileType::Directory), "a directory"),
        "File" | "FileOrCreate" => (found == Some(FileType::RegularFile), "a file"),
        "Socket" => (found == Some(FileType::Socket), "a socket"),
        "CharDevice" => (found == Some(FileType::CharacterDevice), "a character device"),
        "BlockDevice" => (found == Some(FileType::BlockDevice), "a block device"),
        _ => (true, ""),
    };
    if !fits {
        return Err(io::Error::other(format!(
            "hostPath type check failed: {} is not {noun}",
            path.display()
        )));
    }
    Ok(MountedVolume { path, readonly: false })
}
