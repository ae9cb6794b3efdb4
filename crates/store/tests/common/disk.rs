//! A disk under SQLite that fails when told to, and whose power can be cut.
//!
//! A VFS over the system's own: it counts what changes a file (writes, flushes, truncations), lets some of
//! that go wrong, and remembers beside each file what of it is durable. After a power cut a file holds its
//! durable content and any part of what was written since, which is the least that a disk promises.
#![expect(unsafe_code, reason = "SQLite takes a file layer as a table of C functions")]
#![allow(unreachable_pub, reason = "one test binary is the whole crate")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use rusqlite::ffi;
use store::FileLayer;

use crate::random::Random;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens; after a flush that fails so, the kernel forgets what was to be flushed.
    Lost,
    /// Half of it happens.
    Torn,
    /// It happens, and an error is said nevertheless.
    Late,
    /// There is no room on the disk.
    Full,
    /// There is no room for this user.
    Quota,
}

/// The disk. Registered with SQLite for the life of the process.
#[derive(Clone)]
pub struct FailingDisk(&'static Disk);

struct Disk {
    name: CString,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: HashMap<PathBuf, Contents>,
    /// The fault, the calls before it and the calls that it spoils.
    fault: Option<(Fault, u32, u32)>,
    spoiled: u32,
}

/// What the platter has of a file, and what it may have.
struct Contents {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Contents {
    fn apply(content: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(at, bytes) => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Truncate(length) => content.truncate(*length),
        }
    }

    fn flush(&mut self) {
        for change in self.pending.drain(..) {
            Contents::apply(&mut self.durable, &change);
        }
    }
}

impl FailingDisk {
    pub fn new() -> FailingDisk {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("failing-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).expect("no zero byte");
        let disk: &'static Disk = Box::leak(Box::new(Disk { name, state: Mutex::default() }));
        // SAFETY: the default VFS is there for ever, and the copy is leaked, as SQLite wants it. What it
        // shares with the original are functions that look at their file only.
        unsafe {
            let copy = Box::leak(Box::new(*ffi::sqlite3_vfs_find(std::ptr::null())));
            copy.zName = disk.name.as_ptr();
            copy.pAppData = std::ptr::from_ref(disk).cast_mut().cast();
            copy.xOpen = Some(open);
            assert_eq!(ffi::sqlite3_vfs_register(copy, 0), ffi::SQLITE_OK);
        }
        FailingDisk(disk)
    }

    /// After so many more calls that change a file, so many go wrong.
    pub fn fail(&self, fault: Fault, after: u32, calls: u32) {
        self.0.state().fault = Some((fault, after, calls));
    }

    /// The disk works again.
    pub fn heal(&self) {
        self.0.state().fault = None;
    }

    /// How many calls went wrong.
    pub fn spoiled(&self) -> u32 {
        self.0.state().spoiled
    }

    /// Puts what a power cut at this moment leaves into `target`.
    pub fn cut_power(&self, random: &mut Random, target: &Path) {
        let state = self.0.state();
        for (path, contents) in &state.files {
            let mut content = contents.durable.clone();
            for change in &contents.pending {
                match (random.below(3), change) {
                    (0, _) => {}
                    // A sector is written whole or not at all.
                    (1, Change::Write(at, bytes)) if bytes.len() > 512 => {
                        let half = Change::Write(*at, bytes[..bytes.len() / 2].to_vec());
                        Contents::apply(&mut content, &half);
                    }
                    _ => Contents::apply(&mut content, change),
                }
            }
            let name = path.file_name().expect("a file");
            if name != "store.new" {
                std::fs::write(target.join(name), content).expect("writes");
            }
        }
    }
}

impl FileLayer for FailingDisk {
    fn name(&self) -> Option<&str> {
        self.0.name.to_str().ok()
    }

    fn try_write(&self, _: &Path) -> Result<()> {
        match self.0.state().fault {
            Some((Fault::Quota, 0, _)) => Err(Error::from(ErrorKind::QuotaExceeded)),
            Some((Fault::Full, 0, _)) => Err(Error::from(ErrorKind::StorageFull)),
            Some((_, 0, _)) => Err(Error::other("the disk fails")),
            _ => Ok(()),
        }
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

impl State {
    /// What goes wrong with the call that is made now.
    fn next_fault(&mut self) -> Option<Fault> {
        let (fault, after, calls) = self.fault.as_mut()?;
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let fault = *fault;
        *calls -= 1;
        if *calls == 0 {
            self.fault = None;
        }
        self.spoiled += 1;
        Some(fault)
    }
}

/// A file that is open.
struct Open {
    disk: &'static Disk,
    path: PathBuf,
    system: &'static ffi::sqlite3_io_methods,
}

/// By the address of SQLite's own value for the file.
static OPEN: LazyLock<Mutex<HashMap<usize, Arc<Open>>>> = LazyLock::new(Mutex::default);

fn opened(file: *mut ffi::sqlite3_file) -> Arc<Open> {
    let open = OPEN.lock().expect("no panic");
    open.get(&file.addr()).cloned().expect("SQLite uses a file between open and close")
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this as its documentation says: `vfs` is the copy that was registered, `file` has
    // the room the default VFS wants, and `name` is null or a string that outlives the file.
    unsafe {
        let disk: &'static Disk = &*(*vfs).pAppData.cast::<Disk>();
        let system = ffi::sqlite3_vfs_find(std::ptr::null());
        let code = (*system).xOpen.expect("is there")(system, name, file, flags, out);
        if code != ffi::SQLITE_OK || name.is_null() {
            return code;
        }
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        let real: &'static ffi::sqlite3_io_methods = &*(*file).pMethods;
        let mut methods = *real;
        methods.xWrite = Some(write);
        methods.xTruncate = Some(truncate);
        methods.xSync = Some(sync);
        methods.xClose = Some(close);
        (*file).pMethods = Box::leak(Box::new(methods));
        disk.state().files.entry(path.clone()).or_insert_with(|| Contents {
            durable: std::fs::read(&path).unwrap_or_default(),
            pending: Vec::new(),
        });
        let one = Arc::new(Open { disk, path, system: real });
        OPEN.lock().expect("no panic").insert(file.addr(), one);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: i64,
) -> c_int {
    let open = opened(file);
    let mut state = open.disk.state();
    let fault = state.next_fault();
    let count = match fault {
        Some(Fault::Lost) => return ffi::SQLITE_IOERR_WRITE,
        Some(Fault::Quota) => return ffi::SQLITE_IOERR_WRITE,
        Some(Fault::Full) => return ffi::SQLITE_FULL,
        Some(Fault::Torn) => count / 2,
        Some(Fault::Late) | None => count,
    };
    // SAFETY: SQLite gives `count` readable bytes, and at most that many are read; `system` is what the file
    // was opened with.
    let (code, written) = unsafe {
        let code = open.system.xWrite.expect("is there")(file, bytes, count, at);
        (code, std::slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(count).expect("a length")))
    };
    let contents = state.files.get_mut(&open.path).expect("is open");
    contents.pending.push(Change::Write(usize::try_from(at).expect("a place"), written.to_vec()));
    if fault.is_some() { ffi::SQLITE_IOERR_WRITE } else { code }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    let open = opened(file);
    let mut state = open.disk.state();
    let fault = state.next_fault();
    if !matches!(fault, None | Some(Fault::Late)) {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    // SAFETY: as for `write`.
    let code = unsafe { open.system.xTruncate.expect("is there")(file, length) };
    let contents = state.files.get_mut(&open.path).expect("is open");
    contents.pending.push(Change::Truncate(usize::try_from(length).expect("a length")));
    if fault.is_some() { ffi::SQLITE_IOERR_TRUNCATE } else { code }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let open = opened(file);
    let mut state = open.disk.state();
    let fault = state.next_fault();
    let contents = state.files.get_mut(&open.path).expect("is open");
    // The system's own flush is left out: what is durable is decided here.
    match fault {
        None | Some(Fault::Late) => contents.flush(),
        Some(Fault::Lost | Fault::Torn) => contents.pending.clear(),
        Some(Fault::Full | Fault::Quota) => {}
    }
    if fault.is_some() { ffi::SQLITE_IOERR_FSYNC } else { ffi::SQLITE_OK }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = OPEN.lock().expect("no panic").remove(&file.addr()).expect("was open");
    // SAFETY: as for `write`.
    unsafe { open.system.xClose.expect("is there")(file) }
}
