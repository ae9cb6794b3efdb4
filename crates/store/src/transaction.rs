//! One transaction against the store's contents: its conditions checked, its changes worked out. Pure.
//!
//! Transactions of one batch see each other's changes through the [`Overlay`], though none is durable yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::api::{Commit, CommitError, Entry, Event, EventKind, Expected, Op, TXN_OPS_MAX, Template, Txn};
use crate::index::{Change, Index, Version};
use crate::log::{Row, RowId};
use crate::writer::Outcome;
use crate::{Encoded, Revision, render};

/// Longest key: upstream's names and namespaces have at most 253 bytes each, plurals and groups too.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest value: a request body has at most 3 MiB, and JSON made from its protobuf form may double it.
pub const VALUE_BYTES_MAX: usize = 8 << 20;

/// The index with the changes of the batch so far on top.
pub(crate) struct Overlay<'a> {
    index: &'a Index,
    now_ms: i64,
    revision: Revision,
    keys: HashMap<Arc<str>, Option<Version>>,
    changes: Vec<Change>,
    rows: Vec<Row>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn over(index: &'a Index, now_ms: i64) -> Overlay<'a> {
        Overlay {
            index,
            now_ms,
            revision: index.revision(),
            keys: HashMap::new(),
            changes: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<Change>, Vec<Row>) {
        (self.changes, self.rows)
    }

    fn current(&self, key: &str) -> Option<(Arc<str>, Version)> {
        match self.keys.get_key_value(key) {
            Some((key, version)) => version.as_ref().map(|version| (key.clone(), version.clone())),
            None => self.index.current(key).map(|(key, version)| (key.clone(), version.clone())),
        }
    }
}

/// Checks a transaction and adds its changes to the overlay.
pub(crate) fn evaluate(overlay: &mut Overlay<'_>, txn: &Txn) -> Outcome {
    check_form(txn).map_err(|detail| CommitError::Refused { detail })?;
    for compare in &txn.compares {
        let current = overlay.current(&compare.key);
        let holds = match (compare.expected, &current) {
            (Expected::Absent, None) | (Expected::Present, Some(_)) => true,
            (Expected::At(revision), Some((_, version))) => version.object.revision() == revision,
            _ => false,
        };
        if !holds {
            return Err(CommitError::Conflict {
                key: compare.key.clone(),
                current: current.map(|(key, version)| entry(key, &version)),
            });
        }
    }
    let revision = Revision(overlay.revision.0 + 1);
    let mut entries = Vec::with_capacity(txn.ops.len());
    let mut sub = 0;
    for op in &txn.ops {
        let Some(change) = carry_out(overlay, op, RowId::new(revision, sub)) else {
            entries.push(None);
            continue;
        };
        sub += 1;
        entries.push(Some(change.event.entry.clone()));
        overlay.rows.push(row(&change, op));
        overlay.keys.insert(change.event.entry.key.clone(), change.version.clone());
        overlay.changes.push(change);
    }
    if sub == 0 {
        return Ok(Commit { revision: overlay.revision, entries });
    }
    overlay.rows.last_mut().expect("a row was added").last = true;
    overlay.revision = revision;
    Ok(Commit { revision, entries })
}

fn carry_out(overlay: &Overlay<'_>, op: &Op, row: RowId) -> Option<Change> {
    let revision = row.revision();
    let (kind, entry, previous, version) = match op {
        Op::Put { key, value, ttl_seconds } => {
            let current = overlay.current(key);
            let created = current.as_ref().map_or(revision, |(_, version)| version.created);
            let version = Version {
                object: Arc::new(Encoded::new(render::fill(value, revision), revision)),
                created,
                hole: value.revision_hole.map(hole_place),
                expires_ms: ttl_seconds.map(|seconds| overlay.now_ms + i64::from(seconds) * 1000),
            };
            let kind = if current.is_some() { EventKind::Updated } else { EventKind::Created };
            let (key, previous) = match current {
                Some((key, before)) => (key, Some(before.object)),
                None => (Arc::from(key.as_str()), None),
            };
            (kind, self::entry(key, &version), previous, Some(version))
        }
        Op::Delete { key, last } => {
            let (key, before) = overlay.current(key)?;
            let bytes = match last {
                Some(template) => render::fill(template, revision),
                None => render::refill(&before.object, before.hole, revision),
            };
            let entry =
                Entry { key, created: before.created, object: Arc::new(Encoded::new(bytes, revision)) };
            (EventKind::Deleted, entry, Some(before.object), None)
        }
    };
    Some(Change { row, at_ms: overlay.now_ms, event: Event { kind, entry, previous }, version })
}

fn row(change: &Change, op: &Op) -> Row {
    let entry = &change.event.entry;
    let hole = match op {
        Op::Put { value, .. } => value.revision_hole,
        Op::Delete { last, .. } => last.as_ref().and_then(|last| last.revision_hole),
    };
    Row {
        id: change.row,
        last: false,
        key: entry.key.clone(),
        created: entry.created,
        deleted: change.version.is_none(),
        value: entry.object.bytes().clone(),
        hole: hole.map(hole_place),
        expires_ms: change.version.as_ref().and_then(|version| version.expires_ms),
        at_ms: change.at_ms,
    }
}

fn entry(key: Arc<str>, version: &Version) -> Entry {
    Entry { key, created: version.created, object: version.object.clone() }
}

fn hole_place(hole: usize) -> u32 {
    u32::try_from(hole).expect("a value's size is checked before")
}

fn check_form(txn: &Txn) -> Result<(), String> {
    if txn.ops.len() > TXN_OPS_MAX {
        return Err(format!("{} operations; at most {TXN_OPS_MAX} go into one transaction", txn.ops.len()));
    }
    let mut seen = HashSet::new();
    for op in &txn.ops {
        let (key, template) = match op {
            Op::Put { key, value, .. } => (key, Some(value)),
            Op::Delete { key, last } => (key, last.as_ref()),
        };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(format!("a key of {} bytes; keys have 1 to {KEY_BYTES_MAX}", key.len()));
        }
        if !seen.insert(key) {
            return Err(format!("the key {key} is written twice"));
        }
        if let Some(template) = template {
            check_template(key, template)?;
        }
    }
    Ok(())
}

fn check_template(key: &str, template: &Template) -> Result<(), String> {
    let length = template.bytes.len();
    if length > VALUE_BYTES_MAX {
        return Err(format!("the value of {key} has {length} bytes; at most {VALUE_BYTES_MAX} are stored"));
    }
    match template.revision_hole {
        Some(hole) if hole > length => {
            Err(format!("the revision of {key} would stand at {hole}, beyond its {length} bytes"))
        }
        _ => Ok(()),
    }
}
