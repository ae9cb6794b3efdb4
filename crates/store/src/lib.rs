//! A revisioned key-value store: what etcd is to upstream, in process.
//!
//! Every transaction gets the next [`Revision`]. Reads and watches are served from memory at a known
//! revision; a write is acknowledged only after it is durable, many writers sharing one disk flush.
//! This crate must never know a Kubernetes kind: a value is bytes, a key is a string.
//!
//! Read next: [`api`] (the `Store` trait and its values).

pub mod api;

pub use api::{
    Commit, CommitError, Compare, Entry, Event, EventKind, Expected, Op, Page, Range, ReadError, Store,
    Template, Txn, WatchError, Watcher,
};
pub use model::encoded::Revision;
