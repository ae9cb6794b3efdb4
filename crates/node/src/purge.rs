//! Removing what an agent left on the machine, when it does not run any more (`ordinal down`).

use std::io;
use std::path::Path;

use crate::volumes::remove_pod_directory;

/// Unmounts and removes everything that an agent keeps about pods below `root_dir`. Containers and pod
/// networks must be gone before: they belong to `runtime` and `network`. Volumes of drivers stay.
pub fn purge(root_dir: &Path) -> io::Result<()> {
    let Ok(root) = root_dir.canonicalize() else {
        return Ok(());
    };
    remove_pod_directory(&root.join("pod-data"))?;
    match std::fs::remove_dir_all(root.join("pods")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
