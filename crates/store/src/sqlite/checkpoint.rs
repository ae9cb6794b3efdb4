//! Moving what is in the WAL into the file, beside the commits and not in their way.
//!
//! A thread of its own copies pages and flushes the file while commits go on. It cannot copy what is written
//! meanwhile, so the writer copies that short rest itself; only then does the WAL start again at its beginning.
//! The directory's lock keeps other processes out, so these two connections are all there are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::log::connect;

/// The background begins when so many commits stand in the WAL: some 2,000 pages of 8 KiB are 16 MiB.
const COMMITS_PER_CHECKPOINT: u64 = 1000;

pub(crate) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Commits since the last checkpoint was begun.
    commits: u64,
    /// Checkpoints that the thread has finished, and those whose rest the writer has finished.
    done: Arc<AtomicU64>,
    finished: u64,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path) -> rusqlite::Result<Checkpointer> {
        let connection = connect(path)?;
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
        Ok(Checkpointer { wake: Some(wake), thread: Some(thread), commits: 0, done, finished: 0 })
    }

    /// Counts a commit; begins a checkpoint, or finishes one, when it is time.
    pub(crate) fn after_commit(&mut self, connection: &Connection) {
        self.commits += 1;
        if self.done.load(Ordering::Acquire) > self.finished {
            self.finish(connection);
        } else if self.commits >= COMMITS_PER_CHECKPOINT {
            self.begin();
        }
    }

    /// Uses a quiet moment for what the WAL holds.
    pub(crate) fn when_idle(&mut self, connection: &Connection) {
        if self.done.load(Ordering::Acquire) > self.finished {
            self.finish(connection);
        } else if self.commits > 0 {
            self.begin();
        }
    }

    fn begin(&mut self) {
        if let Some(wake) = &self.wake
            && wake.try_send(()).is_ok()
        {
            self.commits = 0;
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
