//! What readers and the writer share: the index and the hub, each behind its lock.
//!
//! Order of locks: hub, then index. The writer applies to the index first and publishes afterwards; a watch
//! begins while it holds the hub, so whatever the index did not show it yet is still to be published, and
//! what
//! the index did show is recognised by its revision and not sent again. No gap, no duplicate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::Revision;
use crate::api::{Entry, Page, Range, ReadError, Watcher};
use crate::hub::Hub;
use crate::index::{Change, Index};

/// Figures about a store, for metrics and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// The newest durable revision.
    pub revision: Revision,
    /// The oldest revision that can be read and watched from.
    pub oldest: Revision,
    /// Keys there are.
    pub keys: usize,
    /// Bytes of those keys and their values.
    pub bytes: usize,
    /// Changes in the history.
    pub history_events: usize,
    /// Bytes of the values in the history.
    pub history_bytes: usize,
    /// Room the log takes on disk.
    pub file_bytes: u64,
    /// Watches that run.
    pub watchers: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    hub: Mutex<Hub>,
    index: RwLock<Index>,
    revision: AtomicU64,
    file_bytes: AtomicU64,
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(index: Index) -> Shared {
        Shared {
            revision: AtomicU64::new(index.revision().0),
            index: RwLock::new(index),
            ..Shared::default()
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.index().get(key)
    }

    pub(crate) fn range(&self, range: &Range) -> Result<Page, ReadError> {
        self.index().range(range)
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.index().count(prefix)
    }

    pub(crate) fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, ReadError> {
        let mut hub = self.hub();
        let (replay, newest) = {
            let index = self.index();
            (index.changes(prefix, after)?, index.revision())
        };
        Ok(hub.subscribe(prefix, replay, newest))
    }

    /// Shows durable changes: first to reads, then to watches, then as the newest revision. So whoever reads
    /// the revision and then finds its watch queue empty has seen everything up to that revision.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        let events: Vec<_> = changes.iter().map(|change| change.event.clone()).collect();
        let newest = {
            let mut index = self.index_mut();
            for change in changes {
                index.apply(change);
            }
            index.revision()
        };
        {
            let mut hub = self.hub();
            for event in &events {
                hub.publish(event);
            }
        }
        self.revision.store(newest.0, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.hub().close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_file_bytes(&self, bytes: u64) {
        self.file_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let watchers = self.hub().watchers();
        let index = self.index();
        StoreStats {
            revision: index.revision(),
            oldest: index.oldest(),
            keys: index.live(),
            bytes: index.live_bytes(),
            history_events: index.history_len(),
            history_bytes: index.history_bytes(),
            file_bytes: self.file_bytes.load(Ordering::Relaxed),
            watchers,
        }
    }

    // A panic under one of these locks is a failed assertion in this crate. It ends the writer; reads go on.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
