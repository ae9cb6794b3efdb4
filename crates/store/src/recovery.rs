//! From a log back to the store's contents, checking on the way that nothing is missing.
//!
//! Above the cut the log is complete: every revision is there, with all its rows. At or below it, only the
//! number
//! of rows is known. Whatever does not fit is damage; nothing is ever skipped. Read next: `index.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::api::{Entry, Event, EventKind};
use crate::index::{Change, Index, Version};
use crate::log::{Cut, Row, RowId};
use crate::{Encoded, Revision};

/// The log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A whole revision, or several, are missing.
    #[error("after revision {after} comes {found}")]
    Gap {
        /// The last that was there.
        after: Revision,
        /// The next one found.
        found: Revision,
    },
    /// A transaction lacks rows.
    #[error("revision {revision} lacks some of its rows")]
    Torn {
        /// Which.
        revision: Revision,
    },
    /// Rows of the time before the history are missing, or there are too many.
    #[error("{found} rows up to revision {compacted} instead of {expected}")]
    BaseRows {
        /// Up to where.
        compacted: Revision,
        /// How many there should be.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// A row says that a key was removed which was not there, or is newer than its own creation.
    #[error("the row of {key} at revision {revision} contradicts the rows before it")]
    Contradiction {
        /// Which key.
        key: Arc<str>,
        /// Where.
        revision: Revision,
    },
}

/// What a log holds.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) garbage: VecDeque<RowId>,
    pub(crate) rows: u64,
}

/// Takes in rows one by one, in order.
pub(crate) struct Replay {
    cut: Cut,
    recovered: Recovered,
    base_rows: u64,
    /// The row before, if it belongs to the complete part of the log.
    before: Option<(RowId, bool)>,
}

/// All rows at once.
pub(crate) fn replay(rows: impl IntoIterator<Item = Row>, cut: Cut) -> Result<Recovered, Damage> {
    let mut replay = Replay::new(cut);
    for row in rows {
        replay.take(row)?;
    }
    replay.finish()
}

impl Replay {
    pub(crate) fn new(cut: Cut) -> Replay {
        let recovered = Recovered { index: Index::default(), garbage: VecDeque::new(), rows: 0 };
        Replay { cut, recovered, base_rows: 0, before: None }
    }

    pub(crate) fn take(&mut self, row: Row) -> Result<(), Damage> {
        let revision = row.id.revision();
        self.recovered.rows += 1;
        if revision <= self.cut.compacted {
            self.base_rows += 1;
            self.apply(row)?;
            let Recovered { index, garbage, .. } = &mut self.recovered;
            index.forget(revision, garbage);
            return Ok(());
        }
        if self.before.is_none() {
            self.enter_window();
        }
        self.check_sequence(row.id)?;
        self.before = Some((row.id, row.last));
        self.apply(row)
    }

    pub(crate) fn finish(mut self) -> Result<Recovered, Damage> {
        self.check_end_of_transaction()?;
        if self.base_rows != self.cut.base_rows {
            return Err(Damage::BaseRows {
                compacted: self.cut.compacted,
                expected: self.cut.base_rows,
                found: self.base_rows,
            });
        }
        self.enter_window();
        Ok(self.recovered)
    }

    /// The history begins at the cut, even if the last rows before it are gone.
    fn enter_window(&mut self) {
        let Recovered { index, garbage, .. } = &mut self.recovered;
        index.advance(self.cut.compacted);
        index.forget(self.cut.compacted, garbage);
    }

    fn check_sequence(&self, id: RowId) -> Result<(), Damage> {
        let after = self.before.map_or(self.cut.compacted, |(before, _)| before.revision());
        let found = id.revision();
        match self.before {
            Some((before, false)) if found == after && id.sub() == before.sub() + 1 => return Ok(()),
            Some((_, false)) => return Err(Damage::Torn { revision: after }),
            _ => {}
        }
        if found.0 != after.0 + 1 {
            return Err(Damage::Gap { after, found });
        }
        if id.sub() != 0 {
            return Err(Damage::Torn { revision: found });
        }
        Ok(())
    }

    fn check_end_of_transaction(&self) -> Result<(), Damage> {
        match self.before {
            Some((before, false)) => Err(Damage::Torn { revision: before.revision() }),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, row: Row) -> Result<(), Damage> {
        let revision = row.id.revision();
        let index = &mut self.recovered.index;
        let current = index.current(&row.key).map(|(key, version)| (key.clone(), version.clone()));
        // Below the cut the rows before a removal, or before an update, may be gone already.
        let whole = revision > self.cut.compacted;
        let fits = match &current {
            Some((_, version)) => version.created == row.created,
            None => !row.deleted && row.created == revision,
        };
        if row.created > revision || (whole && !fits) {
            return Err(Damage::Contradiction { key: row.key, revision });
        }
        let kind = match (row.deleted, &current) {
            (true, _) => EventKind::Deleted,
            (false, Some(_)) => EventKind::Updated,
            (false, None) => EventKind::Created,
        };
        let object = Arc::new(Encoded::new(row.value, revision));
        let (key, previous) = match current {
            Some((key, before)) => (key, Some(before.object)),
            None => (row.key, None),
        };
        let version = (!row.deleted).then(|| Version {
            object: object.clone(),
            created: row.created,
            hole: row.hole,
            expires_ms: row.expires_ms,
        });
        let entry = Entry { key, created: row.created, object };
        let event = Event { kind, entry, previous };
        index.apply(Change { row: row.id, at_ms: row.at_ms, event, version });
        Ok(())
    }
}
