//! What the tests of the store share: short ways to write transactions, and a clock to turn.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use model::clock::Clock;
use store::{Commit, CommitError, Compare, Event, EventKind, Expected, Op, Store, Template, Txn, Watcher};

/// A clock that a test turns.
pub struct TestClock(Mutex<Timestamp>);

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock(Mutex::new(Timestamp::from_second(1_700_000_000).expect("in range")))
    }
}

impl TestClock {
    pub fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().expect("no panic");
        *now += SignedDuration::from_secs(seconds);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no panic")
    }
}

pub fn put(key: &str, value: &str) -> Op {
    let bytes = Bytes::from(value.to_owned());
    Op::Put { key: key.to_owned(), value: Template { bytes, revision_hole: None }, ttl_seconds: None }
}

/// A value that carries its revision, as objects do.
pub fn put_object(key: &str, ttl_seconds: Option<u32>) -> Op {
    let bytes = Bytes::from_static(br#"{"resourceVersion":"","x":1}"#);
    Op::Put { key: key.to_owned(), value: Template { bytes, revision_hole: Some(20) }, ttl_seconds }
}

pub fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned(), last: None }
}

pub fn txn(ops: Vec<Op>) -> Txn {
    Txn { compares: Vec::new(), ops }
}

pub fn when(key: &str, expected: Expected, op: Op) -> Txn {
    Txn { compares: vec![Compare { key: key.to_owned(), expected }], ops: vec![op] }
}

pub async fn commit(store: &impl Store, ops: Vec<Op>) -> Result<Commit, CommitError> {
    store.commit(txn(ops)).await
}

/// The next event within a deadline, as text: `+/a@3=value`.
pub async fn next(watcher: &mut Watcher) -> String {
    let waited = tokio::time::timeout(Duration::from_secs(20), watcher.next()).await;
    match waited.expect("an event in time") {
        Ok(event) => text(&event),
        Err(error) => error.to_string(),
    }
}

pub fn text(event: &Event) -> String {
    let sign = match event.kind {
        EventKind::Created => '+',
        EventKind::Updated => '~',
        EventKind::Deleted => '-',
    };
    let value = String::from_utf8_lossy(event.entry.object.bytes()).into_owned();
    format!("{sign}{}@{}={value}", event.entry.key, event.revision())
}

/// Waits until something holds; fails after a deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
