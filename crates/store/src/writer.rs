//! The one who writes: checks conditions, gives out revisions, has the log keep the rows, and only then shows
//! the changes to readers and watchers.
//!
//! The same for every engine; it is called by one thread at a time and never sleeps. It must never show a
//! change
//! that the log has not confirmed. Read next: `log.rs` (what an engine does), `transaction.rs` (one
//! transaction).

use std::collections::VecDeque;
use std::sync::Arc;

use model::clock::Clock;

use crate::Revision;
use crate::api::{Commit, CommitError, Compare, Expected, Op, Txn};
use crate::index::{Change, HistoryLimits};
use crate::log::{Cut, Log, LogError, Row, RowId};
use crate::shared::Shared;
use crate::transaction::{self, Overlay};

/// Keys that are removed together when their time ran out; one disk flush for all of them.
const EXPIRED_PER_BATCH: usize = 256;

/// Rows removed in one step of compaction: a few milliseconds of disk, for which a commit may have to wait.
const DISCARD_ROWS_PER_STEP: usize = 512;

/// With so many rows to remove, compaction no longer waits for an idle moment.
pub(crate) const DISCARD_BACKLOG_ROWS: usize = 4 * DISCARD_ROWS_PER_STEP;

/// What became of a transaction.
pub(crate) type Outcome = Result<Commit, CommitError>;

pub(crate) struct Writer<L> {
    log: L,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    limits: HistoryLimits,
    garbage: VecDeque<RowId>,
    /// Rows in the log, wanted or not.
    rows: u64,
    /// The log failed and has not been repaired yet.
    suspect: bool,
}

impl<L: Log> Writer<L> {
    pub(crate) fn new(
        log: L,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        limits: HistoryLimits,
        recovered: (u64, VecDeque<RowId>),
    ) -> Writer<L> {
        let (rows, garbage) = recovered;
        shared.set_file_bytes(log.file_bytes());
        let mut writer = Writer { log, shared, clock, limits, garbage, rows, suspect: false };
        writer.trim();
        writer
    }

    /// Carries transactions out, in order, with one flush for all. The outcomes are in the same order.
    pub(crate) fn commit(&mut self, txns: &[Txn]) -> Vec<Outcome> {
        if self.suspect
            && let Err(error) = self.repair()
        {
            return txns.iter().map(|_| Err(refusal(&error))).collect();
        }
        let (outcomes, changes, rows) = self.evaluate(txns);
        if rows.is_empty() {
            return outcomes;
        }
        match self.log.append(&rows) {
            Ok(()) => {
                self.rows += rows.len() as u64;
                self.shared.publish(changes);
                self.trim();
                self.shared.set_file_bytes(self.log.file_bytes());
                outcomes
            }
            // Alone, the small ones and the deletions may still fit.
            Err(LogError::Full { .. }) if txns.len() > 1 => {
                txns.chunks(1).flat_map(|one| self.commit(one)).collect()
            }
            Err(LogError::Full { detail }) => {
                tracing::warn!(detail, "the store has no room for a write");
                vec![Err(CommitError::Full { detail })]
            }
            Err(error @ LogError::Failed { .. }) => {
                tracing::error!(%error, "the store's log failed");
                self.suspect = true;
                // At once, so that the next write finds the log in order if that is possible at all.
                if let Err(error) = self.repair() {
                    tracing::error!(%error, "the store's log could not be repaired; the next write tries again");
                }
                outcomes.into_iter().map(|outcome| spoiled(outcome, &error)).collect()
            }
        }
    }

    fn evaluate(&self, txns: &[Txn]) -> (Vec<Outcome>, Vec<Change>, Vec<Row>) {
        let now_ms = self.now_ms();
        let index = self.shared.index();
        let mut overlay = Overlay::over(&index, now_ms);
        let outcomes = txns.iter().map(|txn| transaction::evaluate(&mut overlay, txn)).collect();
        let (changes, rows) = overlay.into_parts();
        (outcomes, changes, rows)
    }

    fn repair(&mut self) -> Result<(), LogError> {
        self.log.repair(self.shared.revision())?;
        self.suspect = false;
        tracing::warn!("the store's log is in order again");
        Ok(())
    }

    /// Removes keys whose time ran out; says when to come back, in milliseconds from now.
    pub(crate) fn expire(&mut self) -> Option<u64> {
        let now_ms = self.now_ms();
        let due = self.shared.index().expired(now_ms, EXPIRED_PER_BATCH);
        let txns: Vec<Txn> = due.into_iter().map(|(key, revision)| removal(&key, revision)).collect();
        if !txns.is_empty() {
            let failed = self.commit(&txns).into_iter().filter(Result::is_err).count();
            if failed > 0 {
                tracing::warn!(failed, "keys whose time ran out could not be removed yet");
                return Some(EXPIRY_RETRY_MS);
            }
        }
        let next_ms = self.shared.index().next_expiry_ms()?;
        Some(u64::try_from(next_ms - self.now_ms()).unwrap_or(0))
    }

    /// One short step of work that can wait. Says whether there is more.
    pub(crate) fn maintain(&mut self) -> bool {
        self.trim();
        if !self.suspect && !self.garbage.is_empty() {
            self.discard();
        }
        self.log.maintain();
        self.shared.set_file_bytes(self.log.file_bytes());
        self.garbage.len() >= DISCARD_ROWS_PER_STEP && !self.suspect
    }

    /// Rows that wait to be removed.
    pub(crate) fn backlog_rows(&self) -> usize {
        self.garbage.len()
    }

    fn discard(&mut self) {
        let step = self.garbage.len().min(DISCARD_ROWS_PER_STEP);
        let rows: Vec<RowId> = self.garbage.range(..step).copied().collect();
        let (compacted, window) = {
            let index = self.shared.index();
            (index.oldest(), index.history_len() as u64)
        };
        let left = self.rows - step as u64;
        let cut = Cut { compacted, base_rows: left - window };
        match self.log.discard(&rows, cut) {
            Ok(()) => {
                self.garbage.drain(..step);
                self.rows = left;
            }
            Err(LogError::Full { detail }) => tracing::warn!(detail, "no room to compact the store's log"),
            Err(error @ LogError::Failed { .. }) => {
                // Whether the rows are gone is not known, so how many there are is not either; the repair
                // leaves the old cut or the new one in force, and both describe what a restart would find.
                tracing::error!(%error, "compaction of the store's log failed");
                self.suspect = true;
            }
        }
    }

    fn trim(&mut self) {
        let now_ms = self.now_ms();
        self.shared.index_mut().trim(&self.limits, now_ms, &mut self.garbage);
    }

    pub(crate) fn close(&mut self) {
        self.shared.close();
        self.log.close();
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

/// A full or failing disk is asked again this much later whether a key may go.
const EXPIRY_RETRY_MS: u64 = 1000;

fn removal(key: &str, revision: Revision) -> Txn {
    Txn {
        compares: vec![Compare { key: key.to_owned(), expected: Expected::At(revision) }],
        ops: vec![Op::Delete { key: key.to_owned(), last: None }],
    }
}

fn refusal(error: &LogError) -> CommitError {
    let detail = error.to_string();
    match error {
        LogError::Full { .. } => CommitError::Full { detail },
        LogError::Failed { .. } => CommitError::Unknown { detail },
    }
}

/// The outcome of a transaction whose batch failed: a refusal stands, everything else rested on the batch.
fn spoiled(outcome: Outcome, error: &LogError) -> Outcome {
    match outcome {
        Err(refused @ CommitError::Refused { .. }) => Err(refused),
        _ => Err(refusal(error)),
    }
}
