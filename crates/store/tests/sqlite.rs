//! What a store on a disk promises besides: restarts, damage, two openers, a full disk.

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{TestClock, commit, delete, next, put, put_object, until};
use store::{CommitError, HistoryLimits, OpenError, Options, Range, Revision, SqliteStore, Store};

fn options(clock: &Arc<TestClock>) -> Options {
    Options::new(clock.clone())
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, options(&Arc::default())).expect("opens")
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_watches_resume() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    commit(&store, vec![put_object("/a", None), put("/b", "b")]).await.expect("commits");
    commit(&store, vec![put_object("/a", None)]).await.expect("commits");
    commit(&store, vec![delete("/b")]).await.expect("commits");
    store.close().await;
    assert!(matches!(commit(&store, vec![put("/c", "x")]).await, Err(CommitError::Closed)));
    drop(store);
    let store = open(directory.path());
    assert_eq!((store.revision(), store.count("")), (Revision(3), 1));
    let entry = store.get("/a").expect("is there");
    assert_eq!((entry.created, entry.object.revision()), (Revision(1), Revision(2)));
    let mut watcher = store.watch("/", Revision(1)).expect("watches");
    assert_eq!(next(&mut watcher).await, r#"~/a@2={"resourceVersion":"2","x":1}"#);
    assert_eq!(next(&mut watcher).await, "-/b@3=b");
    let was = store.range(&Range { at: Some(Revision(1)), ..Range::default() }).expect("reads");
    assert_eq!(was.entries.len(), 2);
    assert_eq!(commit(&store, vec![put("/c", "c")]).await.expect("commits").revision, Revision(4));
}

#[tokio::test]
async fn compaction_keeps_the_file_bounded_and_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let mut few = options(&clock);
    few.history = HistoryLimits { events_max: 10, ..HistoryLimits::default() };
    let store = SqliteStore::open(directory.path(), few.clone()).expect("opens");
    let value = "x".repeat(20_000);
    let mut largest = 0;
    for _ in 0..300 {
        let ops = (0..16).map(|number| put(&format!("/{number}"), &value)).collect();
        commit(&store, ops).await.expect("commits");
        largest = largest.max(store.stats().file_bytes);
    }
    commit(&store, (0..16).map(|number| delete(&format!("/{number}"))).collect()).await.expect("commits");
    clock.advance(601);
    until("compaction is done", || store.stats().file_bytes < 64 << 20 && store.stats().history_events == 0)
        .await;
    drop(store);
    let store = SqliteStore::open(directory.path(), few).expect("opens");
    assert_eq!((store.revision(), store.count("")), (Revision(301), 0));
    assert!(largest < 96 << 20, "94 MB were written, {largest} bytes at the most were kept");
}

#[tokio::test]
async fn a_key_expires_across_a_restart_and_its_removal_is_an_event() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let store = SqliteStore::open(directory.path(), options(&clock)).expect("opens");
    commit(&store, vec![put_object("/a", Some(60))]).await.expect("commits");
    drop(store);
    let store = SqliteStore::open(directory.path(), options(&clock)).expect("opens");
    let mut watcher = store.watch("/", Revision(1)).expect("watches");
    clock.advance(61);
    assert_eq!(next(&mut watcher).await, r#"-/a@2={"resourceVersion":"2","x":1}"#);
    assert_eq!(store.count(""), 0);
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let second = SqliteStore::open(directory.path(), options(&Arc::default())).err().expect("refused");
    let OpenError::InUse { pid, .. } = second else { panic!("in use: {second}") };
    assert_eq!(pid, Some(std::process::id()));
    drop(store);
    open(directory.path());
}

/// A closed store with a few values, and its file.
async fn filled(directory: &Path) -> PathBuf {
    let store = open(directory);
    for number in 0..50 {
        commit(&store, vec![put(&format!("/{number}"), "a value to be found"), put("/x", "y")])
            .await
            .expect("commits");
    }
    store.close().await;
    directory.join("store.db")
}

fn assert_damaged(directory: &Path) {
    let error = SqliteStore::open(directory, options(&Arc::default())).err().expect("refused");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restore the directory from a copy"), "{error}");
}

#[tokio::test]
async fn a_changed_byte_in_a_value_is_damage() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = filled(directory.path()).await;
    let bytes = std::fs::read(&file).expect("reads");
    let place = bytes.windows(7).rposition(|window| window == b"a value").expect("is there");
    let opened = std::fs::OpenOptions::new().write(true).open(&file).expect("opens");
    opened.write_all_at(b"A", place as u64).expect("writes");
    assert_damaged(directory.path());
}

#[tokio::test]
async fn a_file_that_is_empty_or_cut_short_or_overwritten_is_damage() {
    for harm in ["empty", "short", "page"] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = filled(directory.path()).await;
        let opened = std::fs::OpenOptions::new().write(true).open(&file).expect("opens");
        let length = opened.metadata().expect("is there").len();
        match harm {
            "empty" => opened.set_len(0).expect("cuts"),
            "short" => opened.set_len(length - 8192).expect("cuts"),
            _ => opened.write_all_at(&[0xA5; 4096], length - 8192).expect("writes"),
        }
        assert_damaged(directory.path());
    }
}

#[tokio::test]
async fn rows_that_are_missing_are_damage() {
    for sql in [
        "DELETE FROM log WHERE id >> 4 = 25",
        "DELETE FROM log WHERE id = (25 << 4) + 1",
        "DELETE FROM log WHERE id = (50 << 4) + 1",
        "UPDATE cut SET base_rows = 1",
        "DROP TABLE cut",
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let file = filled(directory.path()).await;
        rusqlite::Connection::open(&file).expect("opens").execute_batch(sql).expect("runs");
        assert_damaged(directory.path());
    }
}

#[tokio::test]
async fn a_store_at_its_size_limit_takes_deletions_and_then_writes_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(TestClock::default());
    let mut small = options(&clock);
    small.size_limit_bytes = 1 << 20;
    let store = SqliteStore::open(directory.path(), small).expect("opens");
    fill_until_full(&store).await;
    commit(&store, (0..12).map(|number| delete(&format!("/{number}"))).collect()).await.expect("deletes");
    clock.advance(601);
    until("the room is free", || store.stats().history_events == 0).await;
    commit(&store, vec![put("/new", &"x".repeat(40_000))]).await.expect("has room");
}

/// The files as a killed process leaves them, commits still in the WAL: copied while the store is open.
async fn killed(target: &Path) -> PathBuf {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    for number in 0..20 {
        commit(&store, vec![put(&format!("/{number}"), "value")]).await.expect("commits");
    }
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(directory.path().join(name), target.join(name)).expect("copies");
    }
    target.join("store.db-wal")
}

#[tokio::test]
async fn a_torn_end_of_the_wal_loses_only_the_write_that_was_torn() {
    let target = tempfile::tempdir().expect("a directory");
    let wal = std::fs::OpenOptions::new().write(true).open(killed(target.path()).await).expect("opens");
    wal.set_len(wal.metadata().expect("is there").len() - 100).expect("cuts");
    let store = open(target.path());
    assert_eq!((store.revision(), store.count("")), (Revision(19), 19));
}

#[tokio::test]
async fn a_changed_byte_in_the_middle_of_the_wal_is_damage_and_not_its_end() {
    for place in [3, 32 + 9, 32 + 24 + 8000, 32 + 4 * (24 + 8192) + 100] {
        let target = tempfile::tempdir().expect("a directory");
        let file = killed(target.path()).await;
        let mut bytes = std::fs::read(&file).expect("reads");
        bytes[place] ^= 0x10;
        std::fs::write(&file, bytes).expect("writes");
        assert_damaged(target.path());
    }
}

/// Writes until there is no room; returns the number of writes that went through.
async fn fill_until_full(store: &SqliteStore) -> u64 {
    let value = "x".repeat(40_000);
    for number in 0..1000 {
        match commit(store, vec![put(&format!("/{number}"), &value)]).await {
            Ok(done) => assert_eq!(done.revision, Revision(number + 1)),
            Err(CommitError::Full { .. }) => {
                assert!(store.get(&format!("/{number}")).is_none());
                return number;
            }
            Err(other) => panic!("full: {other:?}"),
        }
    }
    panic!("the disk is never full");
}

/// A small file system of its own; gone with the value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "none"])
            .arg(directory.path())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this process may not mount a file system");
        return;
    };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 800_000]).expect("writes");
    let directory = disk.0.path().join("store");
    let store = open(&directory);
    let written = fill_until_full(&store).await;
    assert!(written > 0);
    assert_eq!(store.count(""), written as usize);
    std::fs::remove_file(&ballast).expect("removes");
    let done = commit(&store, vec![put("/after", "x")]).await.expect("has room again");
    assert_eq!(done.revision, Revision(written + 1));
    drop(store);
    let store = open(&directory);
    assert_eq!((store.count(""), store.revision()), (written as usize + 1, Revision(written + 1)));
}
