//! Moving what is in the WAL into the file, beside the commits and not in their way.
//!
//! A thread of its own copies pages and flushes the file while commits go on. It cannot copy what is written
//! meanwhile, so the writer copies that short rest itself; only then does the WAL start again at its
//! beginning.
//! The directory's lock keeps other processes out, so these two connections are all there are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::files::FileLayer;
use super::log::connect;

/// What a commit adds to the WAL besides its rows: the table's last leaf and the page above it, again each
/// time.
const COMMIT_OVERHEAD_BYTES: u64 = 2 * 8192;

/// The background begins when about so much stands in the WAL; 1,000 small commits.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// A quiet moment is used for it when there is so much; less is not worth its two flushes.
const QUIET_CHECKPOINT_BYTES: u64 = 1 << 20;

pub(crate) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Written since the last checkpoint was begun, roughly.
    bytes: u64,
    /// Checkpoints that the thread has finished, and those whose rest the writer has finished.
    done: Arc<AtomicU64>,
    finished: u64,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path, files: &dyn FileLayer) -> rusqlite::Result<Checkpointer> {
        let connection = connect(path, files, "")?;
        connection.pragma_update(None, "cache_size", -64)?;
        let (wake, woken) = mpsc::sync_channel::<()>(1);
        let done = Arc::new(AtomicU64::new(0));
        let counter = done.clone();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    checkpoint(&connection);
                    counter.fetch_add(1, Ordering::Release);
                }
            })
            .expect("the system has room for a thread at start");
        Ok(Checkpointer { wake: Some(wake), thread: Some(thread), bytes: 0, done, finished: 0 })
    }

    /// Counts a commit; begins a checkpoint, or finishes one, when it is time.
    pub(crate) fn after_commit(&mut self, connection: &Connection, row_bytes: u64) {
        self.bytes += row_bytes + COMMIT_OVERHEAD_BYTES;
        if self.done.load(Ordering::Acquire) > self.finished {
            self.finish(connection);
        } else if self.bytes >= CHECKPOINT_BYTES {
            self.begin();
        }
    }

    /// Uses a quiet moment for what the WAL holds.
    pub(crate) fn when_idle(&mut self, connection: &Connection) {
        if self.done.load(Ordering::Acquire) > self.finished {
            self.finish(connection);
        } else if self.bytes >= QUIET_CHECKPOINT_BYTES {
            self.begin();
        }
    }

    fn begin(&mut self) {
        if let Some(wake) = &self.wake
            && wake.try_send(()).is_ok()
        {
            self.bytes = 0;
        }
    }

    fn finish(&mut self, connection: &Connection) {
        self.finished = self.done.load(Ordering::Acquire);
        checkpoint(connection);
    }

    pub(crate) fn stop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn checkpoint(connection: &Connection) {
    let outcome = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "the store's log could not be written back; it grows until it can");
    }
}
