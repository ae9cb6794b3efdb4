//! One process at a time in a store's directory.
//!
//! The kernel drops the lock with the process, however it ends; the number in the file is only for the
//! message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::OpenError;

/// Held as long as the store is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[expect(dead_code, reason = "closing the file gives the lock back")] File);

impl DirectoryLock {
    pub(crate) fn take(directory: &Path) -> Result<DirectoryLock, OpenError> {
        let path = directory.join("lock");
        let failed = |source| OpenError::Directory { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                let pid = holder.trim().parse().ok();
                return Err(OpenError::InUse { path: directory.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // A full disk must not keep a store from opening, and the number is only for the message.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirectoryLock(file))
    }
}
