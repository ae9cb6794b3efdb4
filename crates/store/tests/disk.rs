//! What a store promises while its disk fails, and after the power was cut.

#[path = "common/mod.rs"]
mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{TestClock, commit, delete, put};
use disk::{FailingDisk, Fault};
use random::Random;
use store::{CommitError, Options, Range, Revision, SqliteStore, Store};

/// Histories that are tried; each has its own seed.
const HISTORIES: u64 = 60;
/// Writes in one history.
const WRITES: u32 = 40;

type Contents = BTreeMap<String, String>;

fn contents(store: &SqliteStore) -> Contents {
    let page = store.range(&Range::default()).expect("now can be read");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    page.entries.iter().map(|entry| (entry.key.to_string(), text(entry.object.bytes()))).collect()
}

fn open_on(directory: &Path, disk: &FailingDisk) -> SqliteStore {
    let mut options = Options::new(Arc::new(TestClock::default()));
    options.files = Arc::new(disk.clone());
    SqliteStore::open(directory, options).expect("opens")
}

fn reopened(directory: &Path, context: &str) -> SqliteStore {
    let options = Options::new(Arc::new(TestClock::default()));
    SqliteStore::open(directory, options).unwrap_or_else(|error| panic!("{context}: {error}"))
}

/// A history of writes on a disk that fails now and then.
struct History {
    random: Random,
    disk: FailingDisk,
    store: SqliteStore,
    /// What was acknowledged, and up to which revision.
    acknowledged: Contents,
    revision: u64,
    /// What was there with a write whose fate is not known, one for each since the last acknowledged one.
    possible: Vec<Contents>,
}

impl History {
    async fn write(&mut self, context: &str) {
        let key = format!("/{}", self.random.below(8));
        let mut next = self.acknowledged.clone();
        let op = if self.random.below(4) == 0 && next.remove(&key).is_some() {
            delete(&key)
        } else {
            let value =
                "x".repeat(1 + self.random.below(20_000) as usize) + &self.random.below(9999).to_string();
            next.insert(key.clone(), value.clone());
            put(&key, &value)
        };
        match commit(&self.store, vec![op]).await {
            Ok(done) => {
                self.revision += 1;
                assert_eq!(done.revision, Revision(self.revision), "{context}: no revision is given twice");
                self.acknowledged = next;
                self.possible.clear();
            }
            Err(CommitError::Unknown { .. }) => self.possible.push(next),
            Err(CommitError::Full { .. }) => {}
            Err(other) => panic!("{context}: {other:?}"),
        }
        assert_eq!(self.store.revision(), Revision(self.revision), "{context}");
        assert_eq!(contents(&self.store), self.acknowledged, "{context}: what is shown was acknowledged");
    }

    fn cut_power(&mut self, context: &str) {
        let target = tempfile::tempdir().expect("a directory");
        self.disk.cut_power(&mut self.random, target.path());
        let found = contents(&reopened(target.path(), context));
        let fits = found == self.acknowledged || self.possible.contains(&found);
        assert!(fits, "{context}: found {:?}, acknowledged {:?}", sizes(&found), sizes(&self.acknowledged));
    }
}

fn sizes(contents: &Contents) -> BTreeMap<&str, usize> {
    contents.iter().map(|(key, value)| (key.as_str(), value.len())).collect()
}

#[tokio::test]
async fn whatever_the_disk_does_the_acknowledged_writes_and_no_others_are_there() {
    let mut spoiled = 0;
    for seed in 0..HISTORIES {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = FailingDisk::new();
        let store = open_on(directory.path(), &disk);
        let mut history = History {
            random: Random::new(seed),
            disk: disk.clone(),
            store,
            acknowledged: Contents::new(),
            revision: 0,
            possible: Vec::new(),
        };
        for number in 0..WRITES {
            let context = format!("seed {seed}, write {number}");
            if history.random.below(4) == 0 {
                let kinds = [Fault::Lost, Fault::Torn, Fault::Late, Fault::Full, Fault::Quota];
                let fault = kinds[history.random.below(5) as usize];
                let (after, calls) = (history.random.below(12), 1 + history.random.below(9));
                disk.fail(fault, after, calls);
            }
            history.write(&context).await;
            if history.random.below(3) == 0 {
                history.cut_power(&context);
            }
        }
        disk.heal();
        let context = format!("seed {seed}, at the end");
        let before = history.revision;
        history.write(&context).await;
        assert_eq!(history.revision, before + 1, "{context}: writes work again when the disk does");
        history.cut_power(&context);
        let History { store, acknowledged, .. } = history;
        store.close().await;
        drop(store);
        assert_eq!(contents(&reopened(directory.path(), &context)), acknowledged, "{context}");
        spoiled += disk.spoiled();
    }
    assert!(spoiled > 500, "only {spoiled} calls went wrong");
}

#[tokio::test]
async fn a_quota_that_is_reached_is_a_full_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = FailingDisk::new();
    let store = open_on(directory.path(), &disk);
    commit(&store, vec![put("/a", "1")]).await.expect("commits");
    disk.fail(Fault::Quota, 0, u32::MAX);
    for _ in 0..3 {
        let refused = commit(&store, vec![put("/a", "2")]).await.expect_err("no room");
        assert!(matches!(refused, CommitError::Full { .. }), "{refused:?}");
    }
    disk.heal();
    assert_eq!(commit(&store, vec![put("/a", "3")]).await.expect("commits").revision, Revision(2));
}

#[tokio::test]
async fn a_disk_that_stays_broken_refuses_writes_and_goes_on_answering_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = FailingDisk::new();
    let store = open_on(directory.path(), &disk);
    commit(&store, vec![put("/a", "1")]).await.expect("commits");
    disk.fail(Fault::Lost, 0, u32::MAX);
    for _ in 0..3 {
        let failed = commit(&store, vec![put("/a", "2")]).await.expect_err("is broken");
        assert!(matches!(failed, CommitError::Unknown { .. }), "{failed:?}");
        assert_eq!(contents(&store), Contents::from([("/a".to_owned(), "1".to_owned())]));
    }
    disk.heal();
    assert_eq!(commit(&store, vec![put("/a", "3")]).await.expect("commits").revision, Revision(2));
}
