//! The store without a disk, for tests and simulation: the same writer, index and hub over a log in memory.
//!
//! A commit is carried out on the spot by whoever asks, without another thread, so a simulation that owns the
//! clock sees the same run every time. Its [`MemoryDisk`] outlives the store and fails when told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use model::clock::Clock;
use tokio::sync::Notify;

use crate::Revision;
use crate::api::{Commit, CommitError, Entry, Page, Range, ReadError, Store, Txn, Watcher};
use crate::index::HistoryLimits;
use crate::log::{Cut, Log, LogError, Row, RowId};
use crate::recovery::{self, Damage};
use crate::shared::{Shared, StoreStats};
use crate::writer::{DISCARD_BACKLOG_ROWS, Writer};

/// How the next append to a [`MemoryDisk`] goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no room.
    Full,
    /// It fails, and nothing was written.
    Lost,
    /// It fails, though the rows were written; until they are repaired away a power cut may take them or not.
    Unconfirmed,
}

#[derive(Debug, Default)]
struct Disk {
    rows: BTreeMap<RowId, Row>,
    /// Written, but not confirmed.
    unsynced: Vec<RowId>,
    cut: Cut,
    faults: Vec<Fault>,
    /// How many repairs fail from now on.
    repairs_that_fail: usize,
}

/// What a [`MemoryStore`] keeps its rows on. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// The next append that has no fault lined up before it goes wrong in this way.
    pub fn fail_next_append(&self, fault: Fault) {
        self.disk().faults.push(fault);
    }

    /// So many attempts to repair fail before one succeeds.
    pub fn fail_repairs(&self, attempts: usize) {
        self.disk().repairs_that_fail = attempts;
    }

    /// A power cut: what was never confirmed is gone.
    pub fn lose_unsynced(&self) {
        let mut disk = self.disk();
        let lost = std::mem::take(&mut disk.unsynced);
        disk.rows.retain(|id, _| !lost.contains(id));
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.disk().rows.len()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MemoryDisk {
    fn append(&mut self, rows: &[Row]) -> Result<(), LogError> {
        let mut disk = self.disk();
        let fault = if disk.faults.is_empty() { None } else { Some(disk.faults.remove(0)) };
        let failed = |detail: &str| LogError::Failed { detail: detail.to_owned() };
        match fault {
            Some(Fault::Full) => {
                return Err(LogError::Full { detail: "the simulated disk is full".to_owned() });
            }
            Some(Fault::Lost) => return Err(failed("the simulated disk lost a write")),
            Some(Fault::Unconfirmed) => disk.unsynced.extend(rows.iter().map(|row| row.id)),
            None => {}
        }
        for row in rows {
            let replaced = disk.rows.insert(row.id, row.clone());
            assert!(replaced.is_none(), "a row is written once");
        }
        match fault {
            Some(_) => Err(failed("the simulated disk did not confirm a write")),
            None => Ok(()),
        }
    }

    fn discard(&mut self, rows: &[RowId], cut: Cut) -> Result<(), LogError> {
        let mut disk = self.disk();
        for id in rows {
            let removed = disk.rows.remove(id);
            assert!(removed.is_some(), "a row is removed once");
        }
        disk.cut = cut;
        Ok(())
    }

    fn repair(&mut self, newest: Revision) -> Result<(), LogError> {
        let mut disk = self.disk();
        if disk.repairs_that_fail > 0 {
            disk.repairs_that_fail -= 1;
            return Err(LogError::Failed { detail: "the simulated disk is still broken".to_owned() });
        }
        disk.rows.retain(|id, _| id.revision() <= newest);
        disk.unsynced.clear();
        Ok(())
    }

    fn maintain(&mut self) {}

    fn close(&mut self) {}

    fn file_bytes(&self) -> u64 {
        0
    }
}

/// A store in memory.
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Writer<MemoryDisk>>,
    /// A key with a limited time was written, or the store is gone.
    wake: Notify,
}

impl MemoryStore {
    /// An empty store. Keys expire by themselves if this is called inside a tokio runtime; elsewhere
    /// [`MemoryStore::expire`] does it.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore::open(&MemoryDisk::default(), clock, HistoryLimits::default())
            .expect("an empty disk is not damaged")
    }

    /// The store that a disk holds.
    pub fn open(
        disk: &MemoryDisk,
        clock: Arc<dyn Clock>,
        limits: HistoryLimits,
    ) -> Result<MemoryStore, Damage> {
        let (rows, cut) = {
            let disk = disk.disk();
            (disk.rows.values().cloned().collect::<Vec<_>>(), disk.cut)
        };
        let recovered = recovery::replay(rows, cut)?;
        let shared = Arc::new(Shared::new(recovered.index));
        let found = (recovered.rows, recovered.garbage);
        let writer = Writer::new(disk.clone(), shared.clone(), clock, limits, found);
        let inner = Arc::new(Inner { shared, writer: Mutex::new(writer), wake: Notify::new() });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(expire_in_time(Arc::downgrade(&inner)));
        }
        Ok(MemoryStore { inner })
    }

    /// Removes the keys whose time ran out by now.
    pub fn expire(&self) {
        self.inner.expire();
    }

    /// Removes rows that nobody needs any more.
    pub fn compact(&self) {
        let mut writer = self.inner.writer();
        while writer.maintain() {}
    }

    /// Figures for metrics and status.
    pub fn stats(&self) -> StoreStats {
        self.inner.shared.stats()
    }
}

impl Inner {
    fn writer(&self) -> MutexGuard<'_, Writer<MemoryDisk>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expire(&self) -> Option<u64> {
        self.writer().expire()
    }
}

/// Waits for the next key's time and removes it; ends with the store.
async fn expire_in_time(inner: Weak<Inner>) {
    loop {
        let Some(store) = inner.upgrade().filter(|store| !store.shared.is_closed()) else {
            return;
        };
        let wait_ms = store.expire();
        let woken = async {
            store.wake.notified().await;
        };
        // This keeps the contents alive while it waits; the store's end wakes it.
        let wait = Duration::from_millis(wait_ms.unwrap_or(u64::MAX).clamp(1, EXPIRY_LOOK_MS_MAX));
        if wait_ms.is_none() {
            woken.await;
        } else {
            let _ = tokio::time::timeout(wait, woken).await;
        }
    }
}

/// The clock may be another than tokio's, and jump: look again after a second at the latest.
const EXPIRY_LOOK_MS_MAX: u64 = 1000;

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.inner.shared.close();
        self.inner.wake.notify_one();
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, txn: Txn) -> Result<Commit, CommitError> {
        let mut writer = self.inner.writer();
        if self.inner.shared.is_closed() {
            return Err(CommitError::Closed);
        }
        let outcome = writer.commit(std::slice::from_ref(&txn)).pop().expect("one transaction, one outcome");
        if writer.backlog_rows() >= DISCARD_BACKLOG_ROWS {
            writer.maintain();
        }
        drop(writer);
        if txn.ops.iter().any(|op| matches!(op, crate::Op::Put { ttl_seconds: Some(_), .. })) {
            self.inner.wake.notify_one();
        }
        outcome
    }

    fn revision(&self) -> Revision {
        self.inner.shared.revision()
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.inner.shared.get(key)
    }

    fn range(&self, range: &Range) -> Result<Page, ReadError> {
        self.inner.shared.range(range)
    }

    fn count(&self, prefix: &str) -> usize {
        self.inner.shared.count(prefix)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, ReadError> {
        self.inner.shared.watch(prefix, after)
    }

    async fn close(&self) {
        let mut writer = self.inner.writer();
        writer.close();
        drop(writer);
        self.inner.wake.notify_one();
    }
}
