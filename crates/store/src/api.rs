//! The `Store` trait and the values that cross it.
//!
//! An engine implements this and nothing else; nobody outside this crate knows which engine runs.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::encoded::{Encoded, Revision};
use tokio::sync::mpsc;

/// Bytes to be stored, with the place where they want their own revision written.
#[derive(Debug, Clone)]
pub struct Template {
    /// The value.
    pub bytes: Bytes,
    /// Byte offset at which the store inserts the decimal revision of the commit; `None` stores the bytes
    /// as they are. The caller leaves the hole inside a pair of quotes: `…"resourceVersion":""…`.
    pub revision_hole: Option<usize>,
}

/// What a key must look like for a transaction to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// There is no such key.
    Absent,
    /// There is such a key, whatever its revision.
    Present,
    /// The key was last written at this revision.
    At(Revision),
}

/// One condition of a transaction.
#[derive(Debug, Clone)]
pub struct Compare {
    /// Which key.
    pub key: String,
    /// What it must look like.
    pub expected: Expected,
}

/// One write of a transaction.
#[derive(Debug, Clone)]
pub enum Op {
    /// Writes a value.
    Put {
        /// Under this key.
        key: String,
        /// The value.
        value: Template,
        /// Removes the key by itself this many seconds after the commit, unless it is written again first.
        ttl_seconds: Option<u32>,
    },
    /// Removes a key; a key that is not there is left alone and makes no event.
    Delete {
        /// This key.
        key: String,
        /// The value that watchers get with the deletion; `None` gives them the last one written.
        last: Option<Template>,
    },
}

/// All or nothing: the operations are carried out if every condition holds. At most [`TXN_OPS_MAX`]
/// operations.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The writes, on distinct keys.
    pub ops: Vec<Op>,
}

/// Most operations in one transaction: one object and a few companions (a Service with its allocation).
pub const TXN_OPS_MAX: usize = 16;

/// A durable transaction.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its revision; all its operations share it.
    pub revision: Revision,
    /// For each operation, in order: the entry written, or the final one of a deletion (`None` where the key
    /// was not there).
    pub entries: Vec<Option<Entry>>,
}

/// One key with one version of its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// The revision that made the key.
    pub created: Revision,
    /// The value; its revision is the one that wrote it.
    pub object: Arc<Encoded>,
}

/// Keys that begin with `prefix`, in byte order.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// Beginning of every key in the range.
    pub prefix: String,
    /// Start behind this key.
    pub after: Option<String>,
    /// At most so many entries; 0 for all.
    pub limit: usize,
    /// As the store was at this revision; `None` for now.
    pub at: Option<Revision>,
}

/// The answer to a range.
#[derive(Debug, Clone)]
pub struct Page {
    /// The entries, in key order.
    pub entries: Vec<Entry>,
    /// The revision that the page shows.
    pub revision: Revision,
    /// How many entries of the range come after this page.
    pub remaining: usize,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was made.
    Created,
    /// It was written again.
    Updated,
    /// It was removed, or its time ran out.
    Deleted,
}

/// One change of one key.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new version; for a deletion the final one, whose revision is that of the deletion.
    pub entry: Entry,
    /// The version before.
    pub previous: Option<Arc<Encoded>>,
}

impl Event {
    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        self.entry.object.revision()
    }
}

/// Why a write did not go through. In every case nothing of it was or will be written, except for
/// [`CommitError::Unknown`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold.
    #[error("the key {key} is not as expected")]
    Conflict {
        /// Which key.
        key: String,
        /// What stands there.
        current: Option<Entry>,
    },
    /// The disk has no room, or the store is over its size limit; reads go on, and writes too once there is
    /// room.
    #[error("the store has no room: {detail}")]
    Full {
        /// What is full, and where.
        detail: String,
    },
    /// The transaction itself is wrong (too large, a key twice).
    #[error("the transaction is refused: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The disk failed in the middle: whether the write is there will be known after a restart.
    #[error("the write could not be confirmed: {detail}")]
    Unknown {
        /// What the disk said.
        detail: String,
    },
}

/// Why a read could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The revision is older than the history that is kept.
    #[error("revision {asked} is compacted; the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest that can be had.
        oldest: Revision,
    },
    /// The revision is not there yet.
    #[error("revision {asked} is in the future; the newest is {newest}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest there is.
        newest: Revision,
    },
}

/// Why a watch ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The watcher read too slowly and its queue overflowed; it must list again, or resume from the last
    /// revision it saw.
    #[error("the watcher fell behind")]
    Lagged,
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// A running watch: every change under its prefix, in order, each once.
#[derive(Debug)]
pub struct Watcher {
    receiver: mpsc::Receiver<Result<Event, WatchError>>,
}

impl Watcher {
    /// Wraps the engine's end of the queue. After an `Err` the engine sends nothing more.
    pub fn new(receiver: mpsc::Receiver<Result<Event, WatchError>>) -> Watcher {
        Watcher { receiver }
    }

    /// The next change; waits for it. `Err(Closed)` when the engine is gone.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        self.receiver.recv().await.unwrap_or(Err(WatchError::Closed))
    }
}

/// A revisioned key-value store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Carries a transaction out and returns once it is durable.
    async fn commit(&self, txn: Txn) -> Result<Commit, CommitError>;

    /// The newest durable revision.
    fn revision(&self) -> Revision;

    /// One key, now.
    fn get(&self, key: &str) -> Option<Entry>;

    /// Keys under a prefix, now or as they were.
    fn range(&self, range: &Range) -> Result<Page, ReadError>;

    /// How many keys begin with `prefix`, now.
    fn count(&self, prefix: &str) -> usize;

    /// Every change under `prefix` after `after`, from the history and then live.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, ReadError>;

    /// Flushes what is acknowledged and refuses further writes.
    async fn close(&self);
}
