//! What an engine has to do: keep an ordered log of rows, durably.
//!
//! Everything else (conditions, revisions, history, watches, expiry) is the same for all engines and lives in
//! [`crate::writer`]. An engine never decides anything about keys. Read next: `memory.rs`, `sqlite/log.rs`.

use std::sync::Arc;

use bytes::Bytes;

use crate::Revision;
use crate::api::TXN_OPS_MAX;

/// Bits of a [`RowId`] that number the row within its transaction: `2^4 = TXN_OPS_MAX`.
const SUB_BITS: u32 = 4;
const _: () = assert!(TXN_OPS_MAX <= 1 << SUB_BITS, "a row's place in its transaction fits its bits");

/// Where a row stands in the log: its revision, then its place in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(u64);

impl RowId {
    /// The row of the `sub`-th change of a revision.
    pub fn new(revision: Revision, sub: usize) -> RowId {
        assert!(sub < TXN_OPS_MAX, "a transaction has at most TXN_OPS_MAX rows");
        RowId(revision.0 << SUB_BITS | sub as u64)
    }

    /// The row that an engine wrote down as `raw`.
    pub fn from_raw(raw: u64) -> RowId {
        RowId(raw)
    }

    /// The number an engine writes down.
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The revision of the row.
    pub fn revision(self) -> Revision {
        Revision(self.0 >> SUB_BITS)
    }

    /// Its place in the transaction.
    pub fn sub(self) -> usize {
        (self.0 & ((1 << SUB_BITS) - 1)) as usize
    }
}

/// One change of one key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in the log.
    pub id: RowId,
    /// Whether it is the last row of its transaction; recovery sees by it that none is missing.
    pub last: bool,
    /// The key.
    pub key: Arc<str>,
    /// The revision that made the key.
    pub created: Revision,
    /// Whether the key is removed by this row.
    pub deleted: bool,
    /// The value, its revision filled in; for a deletion the final one.
    pub value: Bytes,
    /// Where in `value` the revision stands.
    pub hole: Option<u32>,
    /// When the key removes itself, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// When the row was written, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What recovery needs to know besides the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// Rows up to here may have been removed; above it the log is complete.
    pub compacted: Revision,
    /// How many rows at or below `compacted` are left; a different number found is damage.
    pub base_rows: u64,
}

/// Why a log did not do what it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// There is no room. Nothing was written.
    #[error("{detail}")]
    Full {
        /// What is full, and where.
        detail: String,
    },
    /// Something failed, and what is on the disk is not known until [`Log::repair`] succeeds.
    #[error("{detail}")]
    Failed {
        /// What the disk said.
        detail: String,
    },
}

/// An ordered, durable log of rows. One caller at a time.
pub trait Log: Send + 'static {
    /// Adds rows, all or none, and returns once they survive a power cut.
    fn append(&mut self, rows: &[Row]) -> Result<(), LogError>;

    /// Removes rows and remembers the cut, all or nothing. Need not be durable at once.
    fn discard(&mut self, rows: &[RowId], cut: Cut) -> Result<(), LogError>;

    /// After a failure: brings the log to a known durable state that holds no row newer than `newest`.
    fn repair(&mut self, newest: Revision) -> Result<(), LogError>;

    /// Work that can wait (checkpoints, giving room back); one short step, called when there is time.
    fn maintain(&mut self);

    /// Flushes everything; nothing follows.
    fn close(&mut self);

    /// How much room the log takes.
    fn file_bytes(&self) -> u64;
}
