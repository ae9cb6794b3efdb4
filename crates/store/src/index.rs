//! The store's contents in memory: every key's current version, the versions that the history still reaches,
//! and the history of changes itself.
//!
//! Pure data: no lock, no clock, no disk. It is told only what is durable already. Read next: `shared.rs`
//! (who
//! reads it) and `writer.rs` (who changes it).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::api::{Entry, Event, Page, Range, ReadError};
use crate::log::RowId;
use crate::{Encoded, Revision};

/// How much of the past is kept; the first bound that is reached counts.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// At most so many changes.
    pub events_max: usize,
    /// At most so many bytes of values in changes.
    pub bytes_max: usize,
    /// Nothing older than this.
    pub age_seconds_max: u32,
}

impl Default for HistoryLimits {
    /// 50,000 changes of 100-odd bytes of bookkeeping are 5 MB; their values are bounded by 32 MiB. Ten
    /// minutes is
    /// twice what upstream's API server keeps, and longer than any client takes to come back.
    fn default() -> HistoryLimits {
        HistoryLimits { events_max: 50_000, bytes_max: 32 << 20, age_seconds_max: 600 }
    }
}

/// One version of one key.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) object: Arc<Encoded>,
    pub(crate) created: Revision,
    pub(crate) hole: Option<u32>,
    pub(crate) expires_ms: Option<i64>,
}

/// A durable change, ready to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) row: RowId,
    pub(crate) at_ms: i64,
    pub(crate) event: Event,
    /// What the key is afterwards; `None` when it is removed.
    pub(crate) version: Option<Version>,
}

/// A version with the row that keeps it; `None` says that the row removed the key.
#[derive(Debug)]
struct Stamped {
    row: RowId,
    version: Option<Version>,
}

#[derive(Debug)]
struct Past {
    row: RowId,
    at_ms: i64,
    event: Event,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Never an empty list; oldest first. Almost always one element.
    keys: BTreeMap<Arc<str>, Vec<Stamped>>,
    /// Live keys below each "directory" of a key (`/a/`, `/a/b/`), so that counting is a look-up.
    below: HashMap<Box<str>, usize>,
    live: usize,
    live_bytes: usize,
    history: VecDeque<Past>,
    history_bytes: usize,
    expiries: BTreeSet<(i64, Arc<str>)>,
    revision: Revision,
    oldest: Revision,
}

impl Index {
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read and watched from.
    pub(crate) fn oldest(&self) -> Revision {
        self.oldest
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    pub(crate) fn history_len(&self) -> usize {
        self.history.len()
    }

    pub(crate) fn history_bytes(&self) -> usize {
        self.history_bytes
    }

    pub(crate) fn current(&self, key: &str) -> Option<(&Arc<str>, &Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        versions.last()?.version.as_ref().map(|version| (key, version))
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.current(key).map(|(key, version)| entry(key, version))
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        if prefix.is_empty() {
            return self.live;
        }
        if prefix.ends_with('/') {
            return self.below.get(prefix).copied().unwrap_or(0);
        }
        self.walk(prefix, None).filter(|(_, versions)| at(versions, None).is_some()).count()
    }

    pub(crate) fn range(&self, range: &Range) -> Result<Page, ReadError> {
        if let Some(asked) = range.at {
            self.check_reach(asked)?;
        }
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let mut entries = Vec::new();
        let mut remaining = 0;
        for (key, versions) in self.walk(&range.prefix, range.after.as_deref()) {
            let Some(version) = at(versions, range.at) else {
                continue;
            };
            if entries.len() < limit {
                entries.push(entry(key, version));
            } else {
                remaining += 1;
            }
        }
        Ok(Page { entries, revision: range.at.unwrap_or(self.revision), remaining })
    }

    /// The changes under `prefix` after `after`, as far as they are kept.
    pub(crate) fn changes(&self, prefix: &str, after: Revision) -> Result<Vec<Event>, ReadError> {
        self.check_reach(after)?;
        let start = self.history.partition_point(|past| past.row.revision() <= after);
        let wanted = self.history.range(start..).filter(|past| past.event.entry.key.starts_with(prefix));
        Ok(wanted.map(|past| past.event.clone()).collect())
    }

    /// Keys whose time has run out at `now_ms`, at most `limit`, and the version that ran out.
    pub(crate) fn expired(&self, now_ms: i64, limit: usize) -> Vec<(Arc<str>, Revision)> {
        let due = self.expiries.iter().take_while(|(when, _)| *when <= now_ms).take(limit);
        due.filter_map(|(_, key)| {
            let (key, version) = self.current(key)?;
            Some((key.clone(), version.object.revision()))
        })
        .collect()
    }

    /// When the next key's time runs out.
    pub(crate) fn next_expiry_ms(&self) -> Option<i64> {
        self.expiries.first().map(|(when, _)| *when)
    }

    /// Takes over a durable change. Changes come in the order of their rows.
    pub(crate) fn apply(&mut self, change: Change) {
        let Change { row, at_ms, event, version } = change;
        assert!(row.revision() >= self.revision, "changes are applied in order");
        self.revision = row.revision();
        let key = event.entry.key.clone();
        let before = self.current(&key).map(|(_, version)| version.clone());
        self.account(&key, before.as_ref(), version.as_ref());
        self.keys.entry(key).or_default().push(Stamped { row, version });
        self.history_bytes += event.entry.object.bytes().len();
        self.history.push_back(Past { row, at_ms, event });
    }

    /// Keeps counts, sizes and expiries in step with a key's change from one version to the next.
    fn account(&mut self, key: &Arc<str>, before: Option<&Version>, after: Option<&Version>) {
        if let Some(version) = before {
            self.live_bytes -= key.len() + version.object.bytes().len();
            if let Some(when) = version.expires_ms {
                self.expiries.remove(&(when, key.clone()));
            }
        }
        if let Some(version) = after {
            self.live_bytes += key.len() + version.object.bytes().len();
            if let Some(when) = version.expires_ms {
                self.expiries.insert((when, key.clone()));
            }
        }
        match (before.is_some(), after.is_some()) {
            (false, true) => {
                self.live += 1;
                for directory in directories(key) {
                    match self.below.get_mut(directory) {
                        Some(count) => *count += 1,
                        None => drop(self.below.insert(directory.into(), 1)),
                    }
                }
            }
            (true, false) => {
                self.live -= 1;
                for directory in directories(key) {
                    let count = self.below.get_mut(directory).expect("a live key is counted");
                    *count -= 1;
                    if *count == 0 {
                        self.below.remove(directory);
                    }
                }
            }
            _ => {}
        }
    }

    /// Forgets what is beyond the limits and adds the rows that nobody needs any more to `garbage`, each
    /// superseded version before the row that superseded it.
    pub(crate) fn trim(&mut self, limits: &HistoryLimits, now_ms: i64, garbage: &mut VecDeque<RowId>) {
        let oldest_ms = now_ms - i64::from(limits.age_seconds_max) * 1000;
        while let Some(past) = self.history.front() {
            let over = self.history.len() > limits.events_max || self.history_bytes > limits.bytes_max;
            if !over && past.at_ms >= oldest_ms {
                break;
            }
            let revision = past.row.revision();
            self.forget(revision, garbage);
        }
    }

    /// Forgets every change up to and including `through`.
    pub(crate) fn forget(&mut self, through: Revision, garbage: &mut VecDeque<RowId>) {
        while self.history.front().is_some_and(|past| past.row.revision() <= through) {
            let past = self.history.pop_front().expect("there is a front");
            self.history_bytes -= past.event.entry.object.bytes().len();
            let key = &past.event.entry.key;
            let versions = self.keys.get_mut(key).expect("a key in the history is in the index");
            let mut kept = versions.partition_point(|stamped| stamped.row < past.row);
            if versions[kept].version.is_none() {
                kept += 1;
            }
            garbage.extend(versions.drain(..kept).map(|stamped| stamped.row));
            if versions.is_empty() {
                self.keys.remove(key);
            }
        }
        self.oldest = self.oldest.max(through);
    }

    /// Says that the store has reached `revision`, though no row of it is left.
    pub(crate) fn advance(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    fn check_reach(&self, asked: Revision) -> Result<(), ReadError> {
        if asked > self.revision {
            return Err(ReadError::Future { asked, newest: self.revision });
        }
        if asked < self.oldest {
            return Err(ReadError::Compacted { asked, oldest: self.oldest });
        }
        Ok(())
    }

    fn walk<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Vec<Stamped>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let found = self.keys.range::<str, _>((start, Bound::Unbounded));
        found.take_while(move |(key, _)| key.starts_with(prefix))
    }
}

fn entry(key: &Arc<str>, version: &Version) -> Entry {
    Entry { key: key.clone(), created: version.created, object: version.object.clone() }
}

fn at(versions: &[Stamped], revision: Option<Revision>) -> Option<&Version> {
    let newest = match revision {
        None => versions.last(),
        Some(revision) => versions.iter().rev().find(|stamped| stamped.row.revision() <= revision),
    };
    newest.and_then(|stamped| stamped.version.as_ref())
}

/// The prefixes of a key that end with a slash.
fn directories(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(place, _)| &key[..=place])
}
