//! A revisioned key-value store: what etcd is to upstream, in process.
//!
//! Every transaction gets the next [`Revision`]. Reads and watches are served from memory at a known
//! revision; a write is acknowledged only after it is durable, many writers sharing one disk flush.
//! This crate must never know a Kubernetes kind: a value is bytes, a key is a string.
//!
//! The way of a write: `commit` → `writer` (conditions, revision) → a [`log::Log`] (durable) → `index` and
//! `hub`
//! (visible, watched) → acknowledged.
//!
//! Read next: [`api`] (the `Store` trait and its values), `writer.rs` (the order of things), `index.rs`
//! (what is
//! in memory), then the engines: `memory.rs`, `sqlite/`.

pub mod api;
mod hub;
mod index;
pub mod log;
mod memory;
mod recovery;
mod render;
mod shared;
mod sqlite;
mod transaction;
mod writer;

pub use api::{
    Commit, CommitError, Compare, Entry, Event, EventKind, Expected, Op, Page, Range, ReadError, Store,
    Template, Txn, WatchError, Watcher,
};
pub use index::HistoryLimits;
pub use memory::{Fault, MemoryDisk, MemoryStore};
pub use model::encoded::{Encoded, Revision};
pub use recovery::Damage;
pub use shared::StoreStats;
pub use sqlite::{FileLayer, OpenError, Options, SqliteStore, SystemFiles};
pub use transaction::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
