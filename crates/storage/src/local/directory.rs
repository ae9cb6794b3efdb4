//! Making, reading and removing the directories that are volumes.
//!
//! Everything here is synchronous and safe to interrupt at any step. It must never touch a path that is not
//! directly below the volume directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::failed;
use crate::driver::{CreateVolume, DriverError, Volume, VolumeId};
use crate::mounts;

/// Name of the content inside a volume's directory.
pub(super) const CONTENT: &str = "data";
const RECORD: &str = "volume.json";
/// Prefixes of what is not (any more) a volume; volume names never begin with a dot.
const CREATING: &str = ".creating-";
const DELETING: &str = ".deleting-";

/// What is kept about a volume beside its content.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Record {
    capacity_bytes: u64,
    parameters: BTreeMap<String, String>,
    node: Option<String>,
}

/// Makes a volume, or finds the one that an equal request made before.
pub(super) fn create(volumes: &Path, request: &CreateVolume) -> Result<Volume, DriverError> {
    check_name(&request.name)?;
    let wanted = Record {
        capacity_bytes: request.capacity_bytes,
        parameters: request.parameters.clone(),
        node: request.node.clone(),
    };
    let id = VolumeId(request.name.clone());
    match read_record(volumes, &id) {
        Ok(found) if found == wanted => {
            // A crash may have cut a discarding off behind the content.
            let content = volumes.join(&id.0).join(CONTENT);
            return match make_content(&content) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    Err(failed("make the volume", &error))
                }
                _ => Ok(volume(id, found)),
            };
        }
        Ok(found) => return Err(mismatch(&request.name, &found, &wanted)),
        Err(DriverError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    build(volumes, &request.name, &wanted).map_err(|error| failed("make the volume", &error))?;
    Ok(volume(id, wanted))
}

/// Removes a volume; one that is not there is no error, one that is mounted is.
pub(super) fn delete(volumes: &Path, id: &VolumeId) -> Result<(), DriverError> {
    check_name(&id.0)?;
    let path = volumes.join(&id.0);
    if let Some(target) = mounted_at(&path).map_err(|error| failed("read the mount table", &error))? {
        let reason = format!("it is still mounted at {}", target.display());
        return Err(DriverError::Failed { operation: "delete the volume".to_owned(), reason });
    }
    let grave = volumes.join(format!("{DELETING}{}", id.0));
    remove_tree(&grave).map_err(|error| failed("remove the volume", &error))?;
    match fs::rename(&path, &grave) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("delete the volume", &error)),
    }
    sync_directory(volumes).map_err(|error| failed("delete the volume", &error))?;
    remove_tree(&grave).map_err(|error| failed("remove the volume", &error))
}

/// Removes a volume without content; `false` when it has some or is mounted. The kernel decides whether the
/// content is empty, in the same step that removes it.
pub(super) fn discard_empty(volumes: &Path, id: &VolumeId) -> Result<bool, DriverError> {
    check_name(&id.0)?;
    let path = volumes.join(&id.0);
    if mounted_at(&path).map_err(|error| failed("read the mount table", &error))?.is_some() {
        return Ok(false);
    }
    match fs::remove_dir(path.join(CONTENT)) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("discard the volume", &error)),
        _ => delete(volumes, id).map(|()| true),
    }
}

/// One volume.
pub(super) fn read(volumes: &Path, id: &VolumeId) -> Result<Volume, DriverError> {
    check_name(&id.0)?;
    read_record(volumes, id).map(|record| volume(id.clone(), record))
}

/// Every volume, by name.
pub(super) fn list(volumes: &Path) -> Result<Vec<Volume>, DriverError> {
    let mut found = Vec::new();
    for name in names(volumes).map_err(|error| failed("list the volumes", &error))? {
        if !mounts::is_plain_name(&name) {
            continue;
        }
        match read(volumes, &VolumeId(name)) {
            Ok(volume) => found.push(volume),
            // Removed since the directory was read.
            Err(DriverError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by(|left, right| left.id.cmp(&right.id));
    Ok(found)
}

/// Removes what a crash left half made or half removed.
pub(super) fn sweep(volumes: &Path) -> Result<(), DriverError> {
    for name in names(volumes).map_err(|error| failed("list the volumes", &error))? {
        if name.starts_with(CREATING) || name.starts_with(DELETING) {
            remove_tree(&volumes.join(&name)).map_err(|error| failed("sweep up the volume", &error))?;
            tracing::info!(name, "removed what was left of a volume");
        }
    }
    Ok(())
}

fn build(volumes: &Path, name: &str, record: &Record) -> io::Result<()> {
    let site = volumes.join(format!("{CREATING}{name}"));
    remove_tree(&site)?;
    fs::create_dir(&site)?;
    rustix::fs::chmod(&site, Mode::from_raw_mode(0o700))?;
    let content = site.join(CONTENT);
    make_content(&content)?;
    let mut file = File::create(site.join(RECORD))?;
    serde_json::to_writer(&mut file, record).map_err(io::Error::other)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    sync_directory(&content)?;
    sync_directory(&site)?;
    fs::rename(&site, volumes.join(name))?;
    sync_directory(volumes)
}

fn make_content(content: &Path) -> io::Result<()> {
    fs::create_dir(content)?;
    // Any user a pod runs as must be able to use its volume, as with upstream's host path provisioners.
    rustix::fs::chmod(content, Mode::from_raw_mode(0o777))?;
    Ok(())
}

fn read_record(volumes: &Path, id: &VolumeId) -> Result<Record, DriverError> {
    let bytes = match fs::read(volumes.join(&id.0).join(RECORD)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DriverError::NotFound { id: id.0.clone() });
        }
        Err(error) => return Err(failed("read the volume's record", &error)),
    };
    serde_json::from_slice(&bytes).map_err(|error| DriverError::Failed {
        operation: format!("read the record of volume {}", id.0),
        reason: error.to_string(),
    })
}

fn volume(id: VolumeId, record: Record) -> Volume {
    Volume { id, capacity_bytes: record.capacity_bytes, context: BTreeMap::new(), node: record.node }
}

fn mismatch(name: &str, found: &Record, wanted: &Record) -> DriverError {
    let reason = if found.capacity_bytes == wanted.capacity_bytes {
        format!("volume {name} is there with other parameters or on another node")
    } else {
        format!(
            "volume {name} is there with {} bytes, not the {} asked for",
            found.capacity_bytes, wanted.capacity_bytes
        )
    };
    DriverError::AlreadyExists { reason }
}

fn check_name(name: &str) -> Result<(), DriverError> {
    if mounts::is_plain_name(name) {
        return Ok(());
    }
    Err(DriverError::InvalidArgument { reason: format!("{name:?} cannot be the name of a volume") })
}

/// Where anything of the directory `path` is mounted, or what is mounted in it.
fn mounted_at(path: &Path) -> io::Result<Option<PathBuf>> {
    let Ok(stat) = rustix::fs::lstat(path.join(CONTENT)) else {
        return Ok(None);
    };
    let device = format!("{}:{}", rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let entries = mounts::list()?;
    // A bind mount shows the path inside its file system: below the mount point that holds the volume.
    let holder = entries
        .iter()
        .filter(|entry| entry.device == device && path.starts_with(&entry.mount_point))
        .max_by_key(|entry| entry.mount_point.as_os_str().len());
    let root = holder.and_then(|entry| {
        let inside = path.strip_prefix(&entry.mount_point).ok()?;
        Some(entry.root.join(inside))
    });
    Ok(entries.into_iter().find_map(|entry| {
        let of_it = root.as_ref().is_some_and(|root| entry.device == device && entry.root.starts_with(root));
        (of_it || entry.mount_point.starts_with(path)).then_some(entry.mount_point)
    }))
}

fn names(volumes: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(volumes)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Removes a tree without following symbolic links; what is not there is no error.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
