//! The log in an SQLite file: one table, rows by revision, each with its checksum.
//!
//! WAL with `synchronous=FULL`: a transaction is one append and one flush. Every connection of this process
//! is
//! here: the writer's, and the checkpointer's in `checkpoint.rs`. Read next: `checkpoint.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi, params};

use super::checkpoint::Checkpointer;
use super::files::{self, FileLayer};
use super::{OpenError, checksum, wal};
use crate::Revision;
use crate::log::{Cut, Log, LogError, Row, RowId};
use crate::recovery::{Recovered, Replay};

/// Version of the file's layout, in `user_version`.
const LAYOUT: i64 = 1;

/// Up to this size the whole file's structure is checked when it is opened (about 1 GB/s); above, the check
/// of
/// every row that recovery makes anyway has to do.
const STRUCTURE_CHECK_BYTES_MAX: u64 = 64 << 20;

/// Pages given back to the file system in one step, when at least four times as many are free.
const VACUUM_PAGES_PER_STEP: u64 = 256;

pub(crate) struct SqliteLog {
    path: PathBuf,
    /// `None` while a failed connection has not been replaced.
    connection: Option<Connection>,
    checkpointer: Checkpointer,
    size_limit_bytes: u64,
    files: Arc<dyn FileLayer>,
    pages: Pages,
    /// Frames of a write that did not go through stand behind the WAL's last commit.
    unclean: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pages {
    bytes_each: u64,
    total: u64,
    free: u64,
}

impl SqliteLog {
    /// Opens or makes the file and reads all of it.
    pub(crate) fn open(
        directory: &Path,
        size_limit_bytes: u64,
        files: Arc<dyn FileLayer>,
    ) -> Result<(SqliteLog, Recovered), OpenError> {
        let path = directory.join("store.db");
        let failed = |source| OpenError::of_sqlite(&path, source);
        if !path.exists() {
            make(directory, &path, files.as_ref())?;
        }
        // SQLite would take an empty file for a new one.
        if std::fs::metadata(&path).is_ok_and(|found| found.len() == 0) {
            return Err(OpenError::damaged(&path, "the file is empty".to_owned()));
        }
        let journal = path.with_extension("db-wal");
        let unread = |source| OpenError::Directory { path: journal.clone(), source };
        if let Some(detail) = wal::damage(&journal).map_err(unread)? {
            return Err(OpenError::damaged(&path, detail));
        }
        let connection = connect(&path, files.as_ref(), "").map_err(failed)?;
        check_structure(&connection, &path)?;
        let recovered = read_all(&connection, &path)?;
        let checkpointer = Checkpointer::start(&path, files.as_ref()).map_err(failed)?;
        let mut log = SqliteLog {
            path,
            connection: Some(connection),
            checkpointer,
            size_limit_bytes,
            files,
            pages: Pages::default(),
            unclean: false,
        };
        log.count_pages();
        Ok((log, recovered))
    }

    fn connection(&mut self) -> Result<&mut Connection, LogError> {
        self.connection.as_mut().ok_or_else(|| LogError::Failed { detail: "the file is not open".to_owned() })
    }

    fn count_pages(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let number = |name: &str| connection.pragma_query_value(None, name, |row| unsigned(row, 0));
        if let (Ok(bytes_each), Ok(total), Ok(free)) =
            (number("page_size"), number("page_count"), number("freelist_count"))
        {
            self.pages = Pages { bytes_each, total, free };
        }
    }

    fn check_size(&self, rows: &[Row]) -> Result<(), LogError> {
        if rows.iter().all(|row| row.deleted) {
            return Ok(());
        }
        let used = (self.pages.total - self.pages.free) * self.pages.bytes_each;
        if used + size_bytes(rows) <= self.size_limit_bytes {
            return Ok(());
        }
        let detail = format!("{} is at its limit of {} bytes", self.path.display(), self.size_limit_bytes);
        Err(LogError::Full { detail })
    }

    fn failure(&mut self, error: &rusqlite::Error) -> LogError {
        let detail = format!("{}: {error}", self.path.display());
        // What could not be written was not the end of a commit, so SQLite has rolled back and the file is as
        // before. Of a flush that failed nothing is known.
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull)
            || extended_code(error) == Some(ffi::SQLITE_IOERR_WRITE) && self.is_full()
        {
            self.unclean = true;
            return LogError::Full { detail };
        }
        self.connection = None;
        LogError::Failed { detail }
    }

    /// The same where nothing new was to be written yet: whatever failed, room may be all that is missing.
    fn failure_before_writing(&mut self, error: &rusqlite::Error) -> LogError {
        if self.is_full() {
            self.unclean = true;
            return LogError::Full { detail: format!("{}: {error}", self.path.display()) };
        }
        self.failure(error)
    }

    /// Begins a new WAL where the old one ends in frames of a failed write. A later commit would overwrite
    /// only some of them, and after a power cut in that commit the others would look like commits behind
    /// damage.
    fn clean(&mut self) -> Result<(), LogError> {
        if self.unclean {
            let outcome = begin_new_wal(self.connection()?);
            outcome.map_err(|error| self.failure_before_writing(&error))?;
            self.unclean = false;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.path.parent().is_some_and(|directory| files::is_full(self.files.as_ref(), directory))
    }
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// Numbers and headers of one row in a page, rounded up.
const ROW_OVERHEAD_BYTES: usize = 64;

fn size_bytes(rows: &[Row]) -> u64 {
    rows.iter().map(|row| (row.key.len() + row.value.len() + ROW_OVERHEAD_BYTES) as u64).sum()
}

impl Log for SqliteLog {
    fn append(&mut self, rows: &[Row]) -> Result<(), LogError> {
        self.check_size(rows)?;
        self.clean()?;
        let outcome = insert(self.connection()?, rows);
        outcome.map_err(|error| self.failure(&error))?;
        self.count_pages();
        let connection = self.connection.as_ref().expect("it has just served");
        self.checkpointer.after_commit(connection, size_bytes(rows));
        Ok(())
    }

    fn discard(&mut self, rows: &[RowId], cut: Cut) -> Result<(), LogError> {
        self.clean()?;
        let outcome = delete(self.connection()?, rows, cut);
        outcome.map_err(|error| self.failure(&error))?;
        self.count_pages();
        // A removed row changes the page that it stood on, or shares one with its neighbours.
        let changed = self.pages.bytes_each * rows.len() as u64;
        let connection = self.connection.as_ref().expect("it has just served");
        self.checkpointer.after_commit(connection, changed);
        Ok(())
    }

    fn repair(&mut self, newest: Revision) -> Result<(), LogError> {
        self.connection = None;
        let end = RowId::new(Revision(newest.0 + 1), 0);
        let outcome = connect(&self.path, self.files.as_ref(), "").and_then(|connection| {
            // Whatever the failed write left in the WAL goes into the file and is flushed, and the WAL starts
            // anew: later commits must not stand behind frames that a power cut may take away.
            begin_new_wal(&connection)?;
            connection.execute("DELETE FROM log WHERE id >= ?1", [signed(end.raw())])?;
            // Writing the same again is a commit of its own, and with it a flush that must succeed.
            connection.execute("UPDATE cut SET compacted = compacted", [])?;
            Ok(connection)
        });
        self.connection = Some(outcome.map_err(|error| self.failure_before_writing(&error))?);
        self.unclean = false;
        self.count_pages();
        Ok(())
    }

    fn maintain(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        self.checkpointer.when_idle(connection);
        if self.pages.free > 4 * VACUUM_PAGES_PER_STEP {
            let outcome =
                connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES_PER_STEP})"));
            if let Err(error) = outcome {
                self.unclean = true;
                tracing::warn!(%error, "free pages could not be given back to the file system");
            }
            self.count_pages();
        }
    }

    fn close(&mut self) {
        self.checkpointer.stop();
        // The last connection writes everything back into the file and removes the WAL.
        if let Some(Err((_, error))) = self.connection.take().map(Connection::close) {
            tracing::warn!(%error, "the store's file was not closed cleanly; the next start reads its log");
        }
    }

    fn file_bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        self.pages.total * self.pages.bytes_each + size(&self.path.with_extension("db-wal"))
    }
}

/// Moves everything into the file, flushes it and empties the WAL.
fn begin_new_wal(connection: &Connection) -> rusqlite::Result<()> {
    let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    match busy {
        0 => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None)),
    }
}

/// What a new file is told before anything is in it; to an old one it would be a write.
const NEW_FILE: &str = "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;";

/// A connection as this process wants it, to a file that is there; `first` is run before all else.
pub(crate) fn connect(path: &Path, files: &dyn FileLayer, first: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match files.name() {
        Some(name) => Connection::open_with_flags_and_vfs(path, flags, name)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.execute_batch(first)?;
    // Nothing here writes: a repair must not add to a WAL that it is about to replace.
    // 1 MiB of cache holds the table's upper pages and a usual batch; a larger batch spills into the WAL.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA cache_size = -1024;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 33554432;
         PRAGMA temp_store = MEMORY;
         PRAGMA busy_timeout = 5000;",
    )?;
    Ok(connection)
}

/// Makes the file under another name first: a file under its own name is always whole, so an empty one is
/// damage.
fn make(directory: &Path, path: &Path, files: &dyn FileLayer) -> Result<(), OpenError> {
    let unfinished = directory.join("store.new");
    let failed = |source| OpenError::Directory { path: unfinished.clone(), source };
    std::fs::File::create(&unfinished).map_err(failed)?;
    let tables = connect(&unfinished, files, NEW_FILE).and_then(|connection| {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE log (
                 id INTEGER PRIMARY KEY, last INTEGER NOT NULL, key TEXT NOT NULL, created INTEGER NOT NULL,
                 deleted INTEGER NOT NULL, hole INTEGER, expires_ms INTEGER, at_ms INTEGER NOT NULL,
                 checksum INTEGER NOT NULL, value BLOB NOT NULL);
             CREATE TABLE cut (
                 one INTEGER PRIMARY KEY CHECK (one = 1), compacted INTEGER NOT NULL,
                 base_rows INTEGER NOT NULL);
             INSERT INTO cut VALUES (1, 0, 0);
             PRAGMA user_version = {LAYOUT};
             COMMIT;"
        ))?;
        // The last connection to close writes the WAL back and removes it.
        connection.close().map_err(|(_, error)| error)
    });
    tables.map_err(|source| OpenError::of_sqlite(&unfinished, source))?;
    std::fs::rename(&unfinished, path).map_err(failed)?;
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// SQLite's integers are signed; ours never come near the sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a revision does not reach 2^59")
}

/// A number that cannot be negative; a negative one is damage.
fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn insert(connection: &mut Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut statement =
            transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
        for row in rows {
            statement.execute(params![
                signed(row.id.raw()),
                row.last,
                &*row.key,
                signed(row.created.0),
                row.deleted,
                row.hole,
                row.expires_ms,
                row.at_ms,
                checksum::of(row),
                &row.value[..],
            ])?;
        }
    }
    transaction.commit()
}

fn delete(connection: &mut Connection, rows: &[RowId], cut: Cut) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare_cached("DELETE FROM log WHERE id = ?1")?;
        for id in rows {
            statement.execute([signed(id.raw())])?;
        }
        let mut statement = transaction.prepare_cached("UPDATE cut SET compacted = ?1, base_rows = ?2")?;
        statement.execute(params![signed(cut.compacted.0), signed(cut.base_rows)])?;
    }
    transaction.commit()
}

fn check_structure(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::of_sqlite(path, source);
    let layout: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if layout != LAYOUT {
        return Err(OpenError::Layout { path: path.to_owned(), found: layout, known: LAYOUT });
    }
    if std::fs::metadata(path).map_or(0, |found| found.len()) > STRUCTURE_CHECK_BYTES_MAX {
        return Ok(());
    }
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if said == "ok" { Ok(()) } else { Err(OpenError::damaged(path, said)) }
}

fn read_all(connection: &Connection, path: &Path) -> Result<Recovered, OpenError> {
    let failed = |source| OpenError::of_sqlite(path, source);
    let cut = connection
        .query_row("SELECT compacted, base_rows FROM cut WHERE one = 1", [], |row| {
            Ok(Cut { compacted: Revision(unsigned(row, 0)?), base_rows: unsigned(row, 1)? })
        })
        .map_err(failed)?;
    let mut replay = Replay::new(cut);
    let mut statement = connection.prepare("SELECT * FROM log ORDER BY id").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(found) = rows.next().map_err(failed)? {
        let (row, kept) = read(found).map_err(failed)?;
        if checksum::of(&row) != kept {
            let detail = format!("the checksum of the row at revision {} is wrong", row.id.revision());
            return Err(OpenError::damaged(path, detail));
        }
        replay.take(row).map_err(|damage| OpenError::damaged(path, damage.to_string()))?;
    }
    replay.finish().map_err(|damage| OpenError::damaged(path, damage.to_string()))
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Row, u32)> {
    let key: String = row.get(2)?;
    let value: Vec<u8> = row.get(9)?;
    let read = Row {
        id: RowId::from_raw(unsigned(row, 0)?),
        last: row.get(1)?,
        key: Arc::from(key),
        created: Revision(unsigned(row, 3)?),
        deleted: row.get(4)?,
        hole: row.get(5)?,
        expires_ms: row.get(6)?,
        at_ms: row.get(7)?,
        value: Bytes::from(value),
    };
    Ok((read, row.get(8)?))
}
