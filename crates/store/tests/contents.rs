//! What a store promises to readers, writers and watchers, shown on the one in memory.

mod common;

use std::sync::Arc;

use common::{TestClock, commit, delete, next, put, put_object, until, when};
use store::{
    CommitError, Expected, Fault, HistoryLimits, MemoryDisk, MemoryStore, Range, ReadError, Revision, Store,
};

fn memory() -> MemoryStore {
    MemoryStore::new(Arc::new(TestClock::default()))
}

fn prefix(prefix: &str) -> Range {
    Range { prefix: prefix.to_owned(), ..Range::default() }
}

#[tokio::test]
async fn every_transaction_gets_the_next_revision_and_its_values_carry_it() {
    let store = memory();
    let made = commit(&store, vec![put_object("/a", None), put("/b", "b")]).await.expect("commits");
    assert_eq!(made.revision, Revision(1));
    let again = commit(&store, vec![put_object("/a", None)]).await.expect("commits");
    let entry = again.entries[0].as_ref().expect("written");
    assert_eq!((entry.created, entry.object.revision()), (Revision(1), Revision(2)));
    assert_eq!(&entry.object.bytes()[..], br#"{"resourceVersion":"2","x":1}"#);
    assert_eq!(store.revision(), Revision(2));
}

#[tokio::test]
async fn a_transaction_whose_condition_fails_writes_nothing_and_shows_what_stands_there() {
    let store = memory();
    commit(&store, vec![put("/a", "1")]).await.expect("commits");
    let refused = store.commit(when("/a", Expected::Absent, put("/b", "x"))).await;
    let Err(CommitError::Conflict { key, current }) = refused else { panic!("conflicts: {refused:?}") };
    assert_eq!((key.as_str(), current.expect("is there").object.revision()), ("/a", Revision(1)));
    assert!(store.get("/b").is_none());
    for (expected, holds) in [(Expected::Present, true), (Expected::At(Revision(1)), false)] {
        assert_eq!(store.commit(when("/a", expected, put("/a", "2"))).await.is_ok(), holds);
    }
}

#[tokio::test]
async fn removing_what_is_not_there_makes_no_revision_and_no_event() {
    let store = memory();
    let done = commit(&store, vec![delete("/a")]).await.expect("commits");
    assert_eq!((done.revision, done.entries.len()), (Revision(0), 1));
    assert_eq!(store.stats().history_events, 0);
}

#[tokio::test]
async fn malformed_transactions_are_refused() {
    let store = memory();
    let many = (0..17).map(|number| put(&format!("/{number}"), "x")).collect();
    for ops in [many, vec![put("/a", "1"), delete("/a")], vec![put("", "x")]] {
        let outcome = commit(&store, ops).await;
        assert!(matches!(outcome, Err(CommitError::Refused { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn pages_of_a_list_show_one_revision_though_the_store_moves_on() {
    let store = memory();
    for key in ["/p/a", "/p/b", "/p/c", "/q/a"] {
        commit(&store, vec![put(key, "old")]).await.expect("commits");
    }
    let first = store.range(&Range { limit: 1, ..prefix("/p/") }).expect("reads");
    assert_eq!((first.remaining, first.revision), (2, Revision(4)));
    commit(&store, vec![delete("/p/b"), put("/p/c", "new"), put("/p/d", "new")]).await.expect("commits");
    let rest = Range { after: Some("/p/a".to_owned()), at: Some(first.revision), ..prefix("/p/") };
    let seen: Vec<_> = store.range(&rest).expect("reads").entries;
    let seen: Vec<_> = seen.iter().map(|entry| (&*entry.key, &entry.object.bytes()[..])).collect();
    assert_eq!(seen, [("/p/b", &b"old"[..]), ("/p/c", &b"old"[..])]);
    assert_eq!((store.count("/p/"), store.count("/p"), store.count(""), store.count("/r/")), (3, 3, 4, 0));
    let future = store.range(&Range { at: Some(Revision(9)), ..Range::default() });
    assert_eq!(future.expect_err("future"), ReadError::Future { asked: Revision(9), newest: Revision(5) });
}

#[tokio::test]
async fn a_watch_replays_the_history_and_goes_on_live() {
    let store = memory();
    commit(&store, vec![put("/a/x", "1")]).await.expect("commits");
    commit(&store, vec![put("/a/x", "2"), put("/b/x", "other")]).await.expect("commits");
    let mut watcher = store.watch("/a/", Revision(1)).expect("watches");
    commit(&store, vec![delete("/a/x")]).await.expect("commits");
    assert_eq!(next(&mut watcher).await, "~/a/x@2=2");
    assert_eq!(next(&mut watcher).await, "-/a/x@3=2");
    store.close().await;
    assert_eq!(next(&mut watcher).await, "the store is closed");
    assert!(matches!(commit(&store, vec![put("/a", "x")]).await, Err(CommitError::Closed)));
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_nobody_waits_for_it() {
    let store = memory();
    let mut slow = store.watch("/", Revision(0)).expect("watches");
    for _ in 0..9000 {
        commit(&store, vec![put("/a", "x")]).await.expect("commits");
    }
    let mut seen = 0;
    while slow.next().await.is_ok() {
        seen += 1;
    }
    assert_eq!(seen, 8192);
    assert_eq!(store.stats().watchers, 0);
    let mut resumed = store.watch("/", Revision(8999)).expect("watches");
    assert_eq!(next(&mut resumed).await, "~/a@9000=x");
}

#[tokio::test]
async fn the_history_is_bounded_by_count_and_age_and_says_what_is_compacted() {
    let clock = Arc::new(TestClock::default());
    let limits = HistoryLimits { events_max: 3, ..HistoryLimits::default() };
    let disk = MemoryDisk::default();
    let store = MemoryStore::open(&disk, clock.clone(), limits).expect("opens");
    for _ in 0..5 {
        commit(&store, vec![put("/a", "x")]).await.expect("commits");
    }
    let compacted = ReadError::Compacted { asked: Revision(1), oldest: Revision(2) };
    assert_eq!(store.watch("/", Revision(1)).expect_err("compacted"), compacted);
    assert!(store.watch("/", Revision(2)).is_ok());
    store.compact();
    assert_eq!(disk.rows(), 4, "the three changes and the version before them");
    clock.advance(601);
    store.compact();
    assert_eq!((disk.rows(), store.stats().oldest), (1, Revision(5)));
    commit(&store, vec![delete("/a")]).await.expect("commits");
    clock.advance(601);
    store.compact();
    assert_eq!((disk.rows(), store.stats().keys), (0, 0));
    let store = MemoryStore::open(&disk, clock, limits).expect("opens");
    assert_eq!(store.revision(), Revision(6), "an empty log still knows its revision");
}

#[tokio::test]
async fn a_key_with_a_limited_time_goes_by_itself_unless_it_is_written_again() {
    let clock = Arc::new(TestClock::default());
    let store = MemoryStore::new(clock.clone());
    commit(&store, vec![put_object("/short", Some(10)), put_object("/long", Some(10))])
        .await
        .expect("commits");
    clock.advance(5);
    commit(&store, vec![put_object("/long", Some(10))]).await.expect("commits");
    let mut watcher = store.watch("/", Revision(2)).expect("watches");
    clock.advance(6);
    assert_eq!(next(&mut watcher).await, r#"-/short@3={"resourceVersion":"3","x":1}"#);
    assert!(store.get("/long").is_some());
    clock.advance(6);
    until("the second key is gone", || store.get("/long").is_none()).await;
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let disk = MemoryDisk::default();
    let clock = Arc::new(TestClock::default());
    let store = MemoryStore::open(&disk, clock, HistoryLimits::default()).expect("opens");
    disk.fail_next_append(Fault::Full);
    let outcome = commit(&store, vec![put("/a", "x")]).await;
    assert!(matches!(outcome, Err(CommitError::Full { .. })), "{outcome:?}");
    assert!(store.get("/a").is_none());
    assert_eq!(commit(&store, vec![put("/a", "x")]).await.expect("commits").revision, Revision(1));
}

#[tokio::test]
async fn an_unconfirmed_write_is_not_shown_and_does_not_come_back() {
    let disk = MemoryDisk::default();
    let clock = Arc::new(TestClock::default());
    let store = MemoryStore::open(&disk, clock.clone(), HistoryLimits::default()).expect("opens");
    disk.fail_next_append(Fault::Unconfirmed);
    disk.fail_repairs(2);
    for _ in 0..2 {
        let outcome = commit(&store, vec![put("/a", "x")]).await;
        assert!(matches!(outcome, Err(CommitError::Unknown { .. })), "{outcome:?}");
    }
    assert_eq!(commit(&store, vec![put("/b", "x")]).await.expect("repaired").revision, Revision(1));
    drop(store);
    let store = MemoryStore::open(&disk, clock, HistoryLimits::default()).expect("opens");
    assert!(store.get("/a").is_none() && store.get("/b").is_some());
}
