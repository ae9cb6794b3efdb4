//! Reading container logs in the CRI format: `<RFC 3339 time> stdout|stderr F|P <text>`.
//!
//! A `P` line is a part of a longer one. Following waits for the kernel's word (inotify), not a timer.
//!
//! Read next: [`crate::gateway`], which streams what [`LogReader`] gives.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest line that is kept together; CRI runtimes cut lines at 16 KiB.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'line> {
    /// Its time, as written.
    pub time: &'line str,
    /// It was printed to the standard error.
    pub is_error: bool,
    /// It goes on in the next line.
    pub partial: bool,
    /// Its text.
    pub text: &'line [u8],
}

/// Reads one line without its line end; `None` if it is not of the format.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(fields.next()?).ok()?;
    let is_error = fields.next()? == b"stderr";
    let tag = fields.next()?;
    let text = fields.next().unwrap_or_default();
    Some(Line { time, is_error, partial: tag.first() == Some(&b'P'), text })
}

/// Reads a log file from somewhere to its present end, and on as it grows.
pub struct LogReader {
    path: PathBuf,
    file: File,
    /// The log goes on here; to be read when the rest of `file` has been.
    successor: Option<File>,
    pending: BytesMut,
    /// Begin lines with their time.
    pub timestamps: bool,
    /// Leave out what is older.
    pub since: Option<Timestamp>,
    inside_line: bool,
}

impl LogReader {
    /// Opens a log, at its last `tail` lines if that is said.
    pub async fn open(path: &Path, tail: Option<u64>) -> io::Result<LogReader> {
        let mut file = File::open(path).await?;
        if let Some(lines) = tail {
            let start = tail_start(&mut file, lines).await?;
            file.seek(SeekFrom::Start(start)).await?;
        }
        Ok(LogReader {
            path: path.to_owned(),
            file,
            successor: None,
            pending: BytesMut::new(),
            timestamps: false,
            since: None,
            inside_line: false,
        })
    }

    /// The next chunk of text; `None` at the present end of the file.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let count = self.file.read(&mut chunk).await?;
            if count == 0 {
                if let Some(successor) = self.successor.take() {
                    self.file = successor;
                } else {
                    self.successor = self.find_successor().await?;
                    if self.successor.is_none() {
                        return Ok(None);
                    }
                }
                // What came between the last read and the look is read first.
                continue;
            }
            self.pending.extend_from_slice(&chunk[..count]);
            let text = self.take_lines();
            if !text.is_empty() {
                return Ok(Some(text.freeze()));
            }
        }
    }

    /// The file that the log goes on in, if this one was set aside for its size.
    async fn find_successor(&self) -> io::Result<Option<File>> {
        let present = match tokio::fs::metadata(&self.path).await {
            Ok(present) => present,
            // It is being set aside just now, or the pod is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if present.ino() == self.file.metadata().await?.ino() {
            return Ok(None);
        }
        File::open(&self.path).await.map(Some)
    }

    /// Waits until the log has changed since `watch` was made.
    pub fn watch(&self) -> io::Result<FileWatch> {
        FileWatch::new(self.path.parent().unwrap_or(&self.path))
    }

    fn take_lines(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line = self.pending.split_to(end + 1);
            let Some(line) = parse(&line[..end]) else {
                continue;
            };
            let is_old =
                self.since.is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|time| time < since));
            if is_old {
                continue;
            }
            if self.timestamps && !self.inside_line {
                out.extend_from_slice(line.time.as_bytes());
                out.extend_from_slice(b" ");
            }
            out.extend_from_slice(line.text);
            self.inside_line = line.partial;
            if !line.partial {
                out.extend_from_slice(b"\n");
            }
        }
        if self.pending.len() > LINE_BYTES_MAX {
            self.pending.clear();
        }
        out
    }
}

/// Says when a log has been written to. It watches the container's directory of logs: when one is set aside
/// for its size, the next is in there too.
pub struct FileWatch {
    inotify: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

impl FileWatch {
    fn new(path: &Path) -> io::Result<FileWatch> {
        use rustix::fs::inotify;
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let descriptor = inotify::init(flags)?;
        let what = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&descriptor, path, what)?;
        #[expect(deprecated, reason = "its successor is unsafe for want of a bound that an OwnedFd fulfils")]
        let inotify = tokio::io::unix::AsyncFd::new(descriptor)?;
        Ok(FileWatch { inotify })
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut buffer = [0_u8; 4096];
            let read = ready.try_io(|descriptor| Ok(rustix::io::read(descriptor.get_ref(), &mut buffer)?));
            match read {
                Ok(result) => return result.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }
}

/// The offset at which the last `lines` whole lines begin: partial lines count with what they belong to.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0)).await?;
    if lines == 0 {
        return Ok(end);
    }
    // From the end backwards, chunk by chunk, keeping what has been read: a tail is small.
    let mut start = end;
    let mut text: Vec<u8> = Vec::new();
    loop {
        let step = start.min(u64::try_from(CHUNK_BYTES).expect("a small constant"));
        start -= step;
        let mut chunk = vec![0; usize::try_from(step).expect("no larger than a chunk")];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut chunk).await?;
        chunk.extend_from_slice(&text);
        text = chunk;
        if let Some(at) = begin_of_last(&text, lines, start == 0) {
            return Ok(start + u64::try_from(at).expect("inside the file"));
        }
        if start == 0 {
            return Ok(0);
        }
    }
}

/// Where in `text` the last `lines` lines begin, if they do. `whole` says that it begins with a line.
fn begin_of_last(text: &[u8], lines: u64, whole: bool) -> Option<usize> {
    let mut starts: Vec<usize> = text
        .iter()
        .enumerate()
        .filter(|(at, byte)| **byte == b'\n' && at + 1 < text.len())
        .map(|(at, _)| at + 1)
        .collect();
    if whole {
        starts.insert(0, 0);
    }
    let mut left = lines;
    let mut begin = None;
    for (index, at) in starts.iter().enumerate().rev() {
        let end = starts.get(index + 1).map_or(text.len(), |next| next - 1);
        let partial = parse(&text[*at..end]).is_some_and(|line| line.partial);
        if !partial {
            if left == 0 {
                return begin;
            }
            left -= 1;
        }
        begin = Some(*at);
    }
    if whole { begin } else { None }
}

/// What a container printed last, as it printed it: standard output and standard error, of at most so many
/// bytes of log.
pub async fn printed(path: &Path, bytes_max: u64) -> io::Result<[Vec<u8>; 2]> {
    let mut file = File::open(path).await?;
    let start = file.metadata().await?.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start)).await?;
    let mut text = Vec::new();
    file.take(bytes_max).read_to_end(&mut text).await?;
    let whole = match start {
        0 => 0,
        _ => text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1),
    };
    let mut printed = [Vec::new(), Vec::new()];
    for line in text[whole..].split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = parse(line.strip_suffix(b"\n").unwrap_or(line)) else { continue };
        let stream = &mut printed[usize::from(line.is_error)];
        stream.extend_from_slice(line.text);
        if !line.partial {
            stream.push(b'\n');
        }
    }
    Ok(printed)
}

/// The text of a log's last lines, at most `bytes` of it; `None` if it cannot be read.
pub async fn tail_text(path: &Path, lines: u64, bytes: u64) -> Option<String> {
    let mut reader = LogReader::open(path, Some(lines)).await.ok()?;
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = reader.next().await {
        text.extend_from_slice(&chunk);
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let from = text.len().saturating_sub(bytes);
    Some(String::from_utf8_lossy(&text[from..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const LOG: &str = "2026-01-01T00:00:00.000000001Z stdout F one\n\
                       2026-01-01T00:00:01.000000001Z stdout P tw\n\
                       2026-01-01T00:00:01.000000002Z stdout F o\n\
                       2026-01-01T00:00:02.000000001Z stderr F three\n";

    async fn read(tail: Option<u64>, since: Option<&str>, timestamps: bool) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), LOG).expect("written");
        let mut reader = LogReader::open(file.path(), tail).await.expect("opens");
        reader.timestamps = timestamps;
        reader.since = since.map(|since| since.parse().expect("valid"));
        let mut text = Vec::new();
        while let Some(chunk) = reader.next().await.expect("reads") {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn parts_are_joined_and_the_tail_counts_whole_lines() {
        assert_eq!(read(None, None, false).await, "one\ntwo\nthree\n");
        assert_eq!(read(Some(2), None, false).await, "two\nthree\n");
        assert_eq!(read(Some(1), None, false).await, "three\n");
        assert_eq!(read(Some(0), None, false).await, "");
        assert_eq!(read(Some(9), None, false).await, "one\ntwo\nthree\n");
    }

    #[tokio::test]
    async fn what_was_printed_is_told_by_stream_and_from_whole_lines() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), LOG).expect("written");
        let whole = printed(file.path(), 1_000_000).await.expect("reads");
        assert_eq!(whole, [b"one\ntwo\n".to_vec(), b"three\n".to_vec()]);
        let last = printed(file.path(), 60).await.expect("reads");
        assert_eq!(last, [b"".to_vec(), b"three\n".to_vec()]);
    }

    #[tokio::test]
    async fn since_and_timestamps_work_on_whole_lines() {
        assert_eq!(read(None, Some("2026-01-01T00:00:02Z"), false).await, "three\n");
        let text = read(Some(2), None, true).await;
        assert_eq!(text, "2026-01-01T00:00:01.000000001Z two\n2026-01-01T00:00:02.000000001Z three\n");
    }

    async fn append(path: &Path, text: &str) {
        let mut writer = File::options().create(true).append(true).open(path).await.expect("the file opens");
        writer
            .write_all(format!("2026-01-01T00:00:00Z stdout F {text}\n").as_bytes())
            .await
            .expect("written");
        writer.flush().await.expect("written");
    }

    #[tokio::test]
    async fn a_growing_file_wakes_its_follower() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("0.log");
        append(&path, "first").await;
        let mut reader = LogReader::open(&path, Some(0)).await.expect("opens");
        let mut watch = reader.watch().expect("watches");
        assert!(reader.next().await.expect("reads").is_none());
        append(&path, "hello").await;
        tokio::time::timeout(std::time::Duration::from_secs(5), watch.changed())
            .await
            .expect("woken in time")
            .expect("watches");
        let text = reader.next().await.expect("reads").expect("there is more");
        assert_eq!(&text[..], b"hello\n");
    }

    #[tokio::test]
    async fn a_log_that_is_set_aside_is_followed_into_the_next_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("0.log");
        append(&path, "one").await;
        let mut reader = LogReader::open(&path, None).await.expect("opens");
        assert_eq!(reader.next().await.expect("reads").as_deref(), Some(&b"one\n"[..]));
        assert!(reader.next().await.expect("reads").is_none());
        append(&path, "two").await;
        std::fs::rename(&path, directory.path().join("0.log.1")).expect("set aside");
        append(&path, "three").await;
        assert_eq!(reader.next().await.expect("reads").as_deref(), Some(&b"two\n"[..]));
        assert_eq!(reader.next().await.expect("reads").as_deref(), Some(&b"three\n"[..]));
        assert!(reader.next().await.expect("reads").is_none());
    }
}
