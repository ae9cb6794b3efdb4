//! The store on a disk: the writer over a log in an SQLite file.
//!
//! One thread writes. It takes everything that is queued and commits it with one flush; whoever asked waits
//! without a thread. A slow disk makes writes slow; nothing here gives up because of time.
//! Read next: `log.rs` (the file), `checkpoint.rs`, `lock.rs`.

mod checkpoint;
mod checksum;
mod files;
mod lock;
mod log;
mod wal;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use model::clock::Clock;
use rusqlite::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::Revision;
use crate::api::{Commit, CommitError, Entry, Op, Page, Range, ReadError, Store, Txn, Watcher};
use crate::index::HistoryLimits;
use crate::shared::{Shared, StoreStats};
use crate::writer::{DISCARD_BACKLOG_ROWS, Outcome, Writer};

pub use self::files::{FileLayer, SystemFiles};
use self::lock::DirectoryLock;
use self::log::SqliteLog;

/// Most transactions in one flush. More would not make the flush cheaper, only the wait longer.
const BATCH_TXNS_MAX: usize = 256;

/// What may be queued, in KiB: 16 MiB of values, or 16,384 small transactions. Whoever comes later waits.
const QUEUE_KIB_MAX: u32 = 16 << 10;

/// So long without a write is a quiet moment, in which the log is looked after.
const QUIET: Duration = Duration::from_millis(200);

/// The clock may jump, and the history ages: look at it this often. One wake-up a second costs nothing
/// measurable.
const LOOK: Duration = Duration::from_secs(1);

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// How much of the past is kept.
    pub history: HistoryLimits,
    /// The file may hold so many bytes; then only deletions are taken.
    pub size_limit_bytes: u64,
    /// Tells when keys expire and history ages.
    pub clock: Arc<dyn Clock>,
    /// What the files are written through.
    pub files: Arc<dyn FileLayer>,
}

impl Options {
    /// The usual bounds. Everything is kept in memory too, so 4 GiB is far beyond one machine's cluster.
    pub fn new(clock: Arc<dyn Clock>) -> Options {
        Options {
            history: HistoryLimits::default(),
            size_limit_bytes: 4 << 30,
            clock,
            files: Arc::new(SystemFiles),
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by {}; stop that first, or use another directory", path.display(), holder(*.pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Whose it is, as far as it is known.
        pid: Option<u32>,
    },
    /// The directory or a file in it cannot be used.
    #[error("open {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is of another version of Ordinal.
    #[error("{} has layout {found}; this version knows {known}. Use the version that wrote it", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// What is in the file is not what was written.
    #[error(
        "{} is damaged: {detail}. Nothing was changed. Check the disk; then restore the directory from a copy, or \
         move it away to start with an empty cluster",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file cannot be read or written now.
    #[error("read {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl OpenError {
    fn damaged(path: &Path, detail: String) -> OpenError {
        OpenError::Damaged { path: path.to_owned(), detail }
    }

    /// What SQLite says about a file, sorted into damage and everything else.
    fn of_sqlite(path: &Path, source: rusqlite::Error) -> OpenError {
        let corrupt = matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        );
        // A column that is not of its type, or a table that is not there, cannot come from this program.
        if corrupt || source.sqlite_error_code().is_none() {
            return OpenError::damaged(path, source.to_string());
        }
        OpenError::Sqlite { path: path.to_owned(), source }
    }
}

struct Request {
    txn: Txn,
    reply: oneshot::Sender<Outcome>,
    /// The request's place in the queue; free when it is answered.
    _place: OwnedSemaphorePermit,
}

/// A store in a directory.
pub struct SqliteStore {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    sender: Mutex<Option<Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is made if need be. Blocks while the file is read.
    pub fn open(directory: &Path, options: Options) -> Result<SqliteStore, OpenError> {
        let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = DirectoryLock::take(directory)?;
        let (log, recovered) = SqliteLog::open(directory, options.size_limit_bytes, options.files)?;
        let shared = Arc::new(Shared::new(recovered.index));
        let found = (recovered.rows, recovered.garbage);
        let writer = Writer::new(log, shared.clone(), options.clock, options.history, found);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                write_until_closed(writer, &receiver);
                drop(lock);
            })
            .map_err(failed)?;
        Ok(SqliteStore {
            shared,
            places: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            sender: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Figures for metrics and status.
    pub fn stats(&self) -> StoreStats {
        self.shared.stats()
    }

    fn send(&self, request: Request) -> Result<(), CommitError> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref().ok_or(CommitError::Closed)?;
        sender.send(request).map_err(|_| CommitError::Closed)
    }

    /// Tells the thread to finish what is queued and end; the handle to wait for it, once.
    fn end(&self) -> Option<JoinHandle<()>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SqliteStore {
    /// Waits for the writer, so that the directory is free afterwards.
    fn drop(&mut self) {
        if let Some(thread) = self.end() {
            let _ = thread.join();
        }
    }
}

fn write_until_closed(mut writer: Writer<SqliteLog>, receiver: &Receiver<Request>) {
    let mut quiet = false;
    loop {
        let expiry = writer.expire().map_or(LOOK, Duration::from_millis);
        let wait = expiry.min(if quiet { LOOK } else { QUIET });
        match receiver.recv_timeout(wait) {
            Ok(first) => {
                quiet = false;
                serve(&mut writer, first, receiver);
                if writer.backlog_rows() >= DISCARD_BACKLOG_ROWS {
                    writer.maintain();
                }
            }
            Err(RecvTimeoutError::Timeout) => quiet = !writer.maintain(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    writer.close();
}

fn serve(writer: &mut Writer<SqliteLog>, first: Request, receiver: &Receiver<Request>) {
    let mut txns = vec![first.txn];
    let mut waiting = vec![(first.reply, first._place)];
    while txns.len() < BATCH_TXNS_MAX
        && let Ok(request) = receiver.try_recv()
    {
        txns.push(request.txn);
        waiting.push((request.reply, request._place));
    }
    for ((reply, place), outcome) in waiting.into_iter().zip(writer.commit(&txns)) {
        // Whoever asked may have gone; the write stands.
        let _ = reply.send(outcome);
        drop(place);
    }
}

fn size_kib(txn: &Txn) -> u32 {
    let bytes = |op: &Op| match op {
        Op::Put { key, value, .. } => key.len() + value.bytes.len(),
        Op::Delete { key, last } => key.len() + last.as_ref().map_or(0, |last| last.bytes.len()),
    };
    let kib = 1 + txn.ops.iter().map(bytes).sum::<usize>() / 1024;
    u32::try_from(kib).unwrap_or(QUEUE_KIB_MAX).min(QUEUE_KIB_MAX)
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, txn: Txn) -> Result<Commit, CommitError> {
        let places = self.places.clone().acquire_many_owned(size_kib(&txn)).await;
        let place = places.map_err(|_| CommitError::Closed)?;
        let (reply, answer) = oneshot::channel();
        self.send(Request { txn, reply, _place: place })?;
        // The writer answers everything that it took, unless it panicked.
        let lost = |_| CommitError::Unknown { detail: "the store's writer has ended".to_owned() };
        answer.await.map_err(lost)?
    }

    fn revision(&self) -> Revision {
        self.shared.revision()
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.shared.get(key)
    }

    fn range(&self, range: &Range) -> Result<Page, ReadError> {
        self.shared.range(range)
    }

    fn count(&self, prefix: &str) -> usize {
        self.shared.count(prefix)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, ReadError> {
        self.shared.watch(prefix, after)
    }

    async fn close(&self) {
        let Some(thread) = self.end() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the store's writer did not end in order");
        }
    }
}
