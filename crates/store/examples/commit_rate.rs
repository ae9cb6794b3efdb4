//! How many durable commits a second, and how long each takes.
//!
//! `cargo run --release -p store --example commit_rate -- [WRITERS] [SECONDS] [VALUE_BYTES] [DIRECTORY]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use model::clock::Clock;
use store::{Op, Options, SqliteStore, Store, Template, Txn};

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "a measuring program is its own composition root")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (writers, seconds, value_bytes) = (number(64), number(4), number(1024));
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent).expect("a directory to write to");
    let store = SqliteStore::open(directory.path(), Options::new(Arc::new(SystemClock))).expect("opens");
    let store = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| runtime.spawn(write_until(end, store.clone(), writer, value_bytes as usize)))
        .collect();
    let mut times: Vec<Duration> = Vec::new();
    for task in tasks {
        times.extend(runtime.block_on(task).expect("a writer ends"));
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "{writers} writers, {value_bytes} bytes: {} commits/s, p50 {} µs, p99 {} µs, most {} µs, file {} MiB",
        times.len() as u64 / seconds,
        at(0.5),
        at(0.99),
        at(1.0),
        store.stats().file_bytes >> 20,
    );
    runtime.block_on(store.close());
}

async fn write_until(
    end: Instant,
    store: Arc<SqliteStore>,
    writer: u64,
    value_bytes: usize,
) -> Vec<Duration> {
    let bytes = Bytes::from(vec![b'x'; value_bytes]);
    let mut times = Vec::new();
    for number in 0_u64.. {
        let begin = Instant::now();
        if begin >= end {
            break;
        }
        let value = Template { bytes: bytes.clone(), revision_hole: Some(0) };
        let op = Op::Put { key: format!("/{writer}/{number}"), value, ttl_seconds: None };
        store.commit(Txn { compares: Vec::new(), ops: vec![op] }).await.expect("commits");
        times.push(begin.elapsed());
    }
    times
}
