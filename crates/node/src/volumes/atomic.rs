//! A directory of files that changes all at once.
//!
//! The files live in a directory with a time in its name, `..data` is a symbolic link to it and each file a
//! link through `..data`. A change makes a new directory and renames a new link over `..data`, so a reader
//! sees all of the old or all of the new. It must never be used on a directory that a container can write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

use jiff::Timestamp;
use rustix::fs::{Gid, Mode};

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// The files of a volume by their path in it.
pub type Payload = BTreeMap<String, File>;

/// Makes `directory` hold exactly `payload`; true if that changed anything.
pub fn write(directory: &Path, payload: &Payload, group: Option<u32>, now: Timestamp) -> io::Result<bool> {
    if let Some(bad) = payload.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::other(format!("the path {bad:?} leaves the volume")));
    }
    let current = fs::read_link(directory.join(DATA)).ok();
    if let Some(current) = &current
        && holds(&directory.join(current), payload)
    {
        return Ok(false);
    }
    let name = format!("..{}", now.strftime("%Y_%m_%d_%H_%M_%S.%9f"));
    let site = directory.join(&name);
    fs::create_dir_all(&site)?;
    give(&site, 0o755, group)?;
    for (path, file) in payload {
        let target = site.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        give(&target, file.mode, group)?;
    }
    let next = directory.join(DATA_NEXT);
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, directory.join(DATA))?;
    let tops: BTreeSet<&str> =
        payload.keys().map(|path| path.split('/').next().unwrap_or_default()).collect();
    for top in &tops {
        let link = directory.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link)?;
        }
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let entry_name = entry_name.to_string_lossy();
        if entry_name.starts_with("..") {
            if entry_name != DATA && entry_name != name && entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            }
        } else if !tops.contains(entry_name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(true)
}

fn give(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let mut mode = mode;
    if let Some(group) = group {
        rustix::fs::chown(path, None, Some(Gid::from_raw(group)))?;
        // The group reads whatever the owner reads.
        mode |= (mode & 0o400) >> 3;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
    Ok(())
}

/// True if the directory has these files and no others.
fn holds(directory: &Path, payload: &Payload) -> bool {
    let mut found = 0;
    let mut pending = vec![directory.to_owned()];
    while let Some(at) = pending.pop() {
        let Ok(entries) = fs::read_dir(&at) else {
            return false;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            } else {
                found += 1;
            }
        }
    }
    found == payload.len()
        && payload
            .iter()
            .all(|(path, file)| fs::read(directory.join(path)).is_ok_and(|content| content == file.content))
}

/// True for a relative path that cannot leave its directory nor meet the writer's own names.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && Path::new(path).components().all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(path, content)| {
                ((*path).to_owned(), File { content: content.as_bytes().to_vec(), mode: 0o640 })
            })
            .collect()
    }

    #[test]
    fn a_change_is_seen_whole_and_leaves_nothing_of_the_old() {
        let root = tempfile::tempdir().expect("a directory");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("valid");
        let later: Timestamp = "2026-01-01T00:00:01Z".parse().expect("valid");
        let first = payload(&[("a", "1"), ("deep/b", "2")]);
        assert!(write(root.path(), &first, None, now).expect("written"));
        assert!(!write(root.path(), &first, None, later).expect("unchanged"));
        assert_eq!(fs::read_to_string(root.path().join("deep/b")).expect("read"), "2");
        let mode = fs::metadata(root.path().join("a")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);

        assert!(write(root.path(), &payload(&[("a", "3")]), None, later).expect("written"));
        assert_eq!(fs::read_to_string(root.path().join("a")).expect("read"), "3");
        let mut names: Vec<String> = fs::read_dir(root.path())
            .expect("read")
            .map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "the link, its directory and one file: {names:?}");
    }

    #[test]
    fn paths_out_of_the_volume_are_refused() {
        let root = tempfile::tempdir().expect("a directory");
        for path in ["../x", "/x", "a/../../x", "..data", ""] {
            let refused = write(root.path(), &payload(&[(path, "1")]), None, Timestamp::UNIX_EPOCH);
            assert!(refused.is_err(), "{path:?}");
        }
    }
}
