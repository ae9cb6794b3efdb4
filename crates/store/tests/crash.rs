//! Killed at any moment, the store has every write that it acknowledged.
//!
//! The test runs itself again as the process that writes: it prints each acknowledgement to a pipe and is
//! killed
//! with SIGKILL after a number of them that differs each round.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{TestClock, put};
use store::{HistoryLimits, Options, Revision, SqliteStore, Store};

const DIRECTORY: &str = "ORDINAL_TEST_STORE_DIRECTORY";
const ROUNDS: usize = 30;
const WRITERS: usize = 8;

fn open(directory: &Path) -> SqliteStore {
    let mut options = Options::new(Arc::new(TestClock::default()));
    // A short history, so that compaction and checkpoints run all the time as well.
    options.history = HistoryLimits { events_max: 200, ..HistoryLimits::default() };
    SqliteStore::open(directory, options).expect("opens after a kill")
}

/// Writes until it is killed. Not a test of its own: without the variable there is nothing to do.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = Arc::new(open(Path::new(&directory)));
    let work = tokio::task::LocalSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        work.spawn_local(async move {
            for number in 0_u64.. {
                let key = format!("/{writer}/{}", number % 50);
                let ops =
                    vec![put(&key, &format!("{number}")), put(&format!("{key}/twin"), &format!("{number}"))];
                let done = store.commit(common::txn(ops)).await.expect("commits");
                let line = format!("ack {} {key} {number}\n", done.revision);
                std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
            }
        });
    }
    runtime.block_on(work);
}

/// Runs the child, kills it after `acks` acknowledgements, and returns all that it printed.
fn killed_after(directory: &Path, acks: usize) -> Vec<(u64, String, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["child_writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut seen = Vec::new();
    while seen.len() < acks {
        let line = lines.next().expect("the child goes on").expect("reads");
        seen.extend(acknowledged(&line));
    }
    child.kill().expect("is killed");
    seen.extend(lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)));
    child.wait().expect("has ended");
    seen
}

fn acknowledged(line: &str) -> Option<(u64, String, u64)> {
    let mut words = line[line.find("ack ")?..].split(' ').skip(1);
    let revision = words.next()?.parse().ok()?;
    Some((revision, words.next()?.to_owned(), words.next()?.parse().ok()?))
}

#[tokio::test]
async fn every_acknowledged_write_survives_a_kill_at_any_moment() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut newest = 0;
    for round in 0..ROUNDS {
        // 1 to 400, spread without a pattern that fits the batches.
        let acks = 1 + (round * 7919) % 400;
        let seen = killed_after(directory.path(), acks);
        let store = open(directory.path());
        for (revision, key, number) in &seen {
            assert!(*revision > newest, "revision {revision} was given out before (round {round})");
            let entry = store.get(key).expect("an acknowledged key is there");
            let value: u64 =
                std::str::from_utf8(entry.object.bytes()).expect("text").parse().expect("a number");
            let later = entry.object.revision() > Revision(*revision);
            assert!(later || value == *number, "round {round}: {key} is {value}, acknowledged was {number}");
            let twin = store.get(&format!("{key}/twin")).expect("both or none");
            assert_eq!(twin.object.revision(), entry.object.revision(), "both or none");
        }
        newest = store.revision().0;
        assert!(seen.iter().all(|(revision, ..)| *revision <= newest), "round {round}");
    }
}
