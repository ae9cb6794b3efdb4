//! What the store's files are written through: a parameter, so that a test can have a disk that fails.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// What is written to find out whether there is room: more than file systems keep beside their blocks.
const PROBE_BYTES: usize = 64 << 10;

/// The files below SQLite.
pub trait FileLayer: Send + Sync + 'static {
    /// The name by which SQLite knows the layer (a VFS that was registered); `None` for the system's own.
    fn name(&self) -> Option<&str>;

    /// Tries to write into a directory.
    fn try_write(&self, directory: &Path) -> std::io::Result<()>;
}

/// The system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles;

impl FileLayer for SystemFiles {
    fn name(&self) -> Option<&str> {
        None
    }

    fn try_write(&self, directory: &Path) -> std::io::Result<()> {
        let path = directory.join("store.probe");
        let written = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .and_then(|mut file| file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_all()));
        let _ = std::fs::remove_file(&path);
        written
    }
}

/// Whether nothing but room is missing. SQLite knows a full disk, but takes a quota that is reached (EDQUOT)
/// for a broken one.
pub(crate) fn is_full(files: &dyn FileLayer, directory: &Path) -> bool {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    files.try_write(directory).is_err_and(|error| full.contains(&error.kind()))
}
