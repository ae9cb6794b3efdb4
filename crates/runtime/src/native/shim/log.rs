//! A container's log in the CRI format: `<RFC3339Nano> stdout|stderr P|F <text>`, rotated by size.
//!
//! Lines longer than [`LINE_BYTES_MAX`] are cut into parts tagged `P`; the last part is tagged `F`. What is
//! left without a newline when the stream ends is tagged `P`, so that no newline is added that was not
//! written. Failing writes (a full disk) drop text; they must never stop the container.
//!
//! Read next: `supervise.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest text of one log line; containerd's.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Size at which the log is set aside as `<log>.1`, over an earlier one; the kubelet's `containerLogMaxSize`.
const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Most of the log that is read to show it again: what scrolls by in a terminal, and less than half of what
/// is kept for a client that reads slowly.
const REPLAY_BYTES_MAX: u64 = 32 * 1024;

/// Writes one container's log.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    written: u64,
    /// Formatted lines not written yet; at most one read's worth.
    out: Vec<u8>,
    /// Unfinished lines of stdout and stderr.
    open: [Vec<u8>; 2],
}

impl Log {
    pub(crate) fn open(path: &Path) -> io::Result<Log> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = append_to(path)?;
        let written = file.metadata()?.len();
        Ok(Log { path: path.to_owned(), file, written, out: Vec::new(), open: [Vec::new(), Vec::new()] })
    }

    /// Takes what a stream (0 stdout, 1 stderr) gave.
    pub(crate) fn take(&mut self, stream: usize, mut bytes: &[u8], time: &str) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.open[stream].len();
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            match newline {
                Some(at) if at <= room => {
                    self.open[stream].extend_from_slice(&bytes[..at]);
                    self.line(stream, 'F', time);
                    bytes = &bytes[at + 1..];
                }
                _ => {
                    let count = room.min(bytes.len());
                    self.open[stream].extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    if self.open[stream].len() == LINE_BYTES_MAX && !bytes.is_empty() {
                        self.line(stream, 'P', time);
                    }
                }
            }
        }
        self.flush();
    }

    /// The stream is over.
    pub(crate) fn end(&mut self, stream: usize, time: &str) {
        if !self.open[stream].is_empty() {
            self.line(stream, 'P', time);
            self.flush();
        }
    }

    /// Shows again what was taken last: stream and bytes, in the order of the log. Text that a full disk or a
    /// file set aside has swallowed is not shown.
    pub(crate) fn replay(&self, mut show: impl FnMut(usize, &[u8])) {
        let text = tail(&self.path, REPLAY_BYTES_MAX).unwrap_or_default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let mut fields = line.splitn(4, |byte| *byte == b' ');
            let (_, Some(stream), Some(tag), Some(text)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let text = if tag == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
            show(usize::from(stream == b"stderr"), text);
        }
        for (stream, open) in self.open.iter().enumerate().filter(|(_, open)| !open.is_empty()) {
            show(stream, open);
        }
    }

    fn line(&mut self, stream: usize, tag: char, time: &str) {
        let name = if stream == 0 { "stdout" } else { "stderr" };
        let _ = write!(self.out, "{time} {name} {tag} ");
        self.out.append(&mut self.open[stream]);
        self.out.push(b'\n');
    }

    fn flush(&mut self) {
        if self.file.write_all(&self.out).is_ok() {
            self.written += self.out.len() as u64;
        }
        self.out.clear();
        if self.written >= FILE_BYTES_MAX {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            if fs::rename(&self.path, aside).is_ok()
                && let Ok(file) = append_to(&self.path)
            {
                self.file = file;
            }
            self.written = 0;
        }
    }
}

/// The whole lines at the end of a file, at most so many bytes of them.
fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(bytes_max).read_to_end(&mut text)?;
    if start > 0 {
        let first = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
        text.drain(..first);
    }
    Ok(text)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// This moment as RFC 3339 with nanoseconds. The shim is a process of its own, so nobody can hand it a clock.
pub(crate) fn now() -> String {
    #[allow(clippy::disallowed_methods)]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_rfc3339() {
        assert_eq!(rfc3339(0, 1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(rfc3339(951_782_399, 0), "2000-02-28T23:59:59.000000000Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_767_225_599, 999_999_999), "2025-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn long_lines_are_cut_and_an_unfinished_end_stays_partial() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/0.log");
        let mut log = Log::open(&path).unwrap();
        log.take(0, b"one\ntw", "T");
        log.take(1, b"error\n", "T");
        log.take(0, b"o\n\n", "T");
        let mut long = vec![b'x'; LINE_BYTES_MAX + 3];
        long.push(b'\n');
        log.take(0, &long, "T");
        log.take(0, b"end", "T");
        log.end(0, "T");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..4], ["T stdout F one", "T stderr F error", "T stdout F two", "T stdout F "]);
        assert_eq!(lines[4].len(), "T stdout P ".len() + LINE_BYTES_MAX);
        assert_eq!(lines[5..], ["T stdout F xxx", "T stdout P end"]);
    }

    #[test]
    fn what_was_taken_is_shown_again_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = Log::open(&path).unwrap();
        log.take(0, b"one\r\n  two words\n\nprompt> ", "T");
        log.take(1, b"error\n", "T");
        let shown = |log: &Log| {
            let mut shown = [Vec::new(), Vec::new()];
            log.replay(|stream, bytes| shown[stream].extend_from_slice(bytes));
            shown.map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(shown(&log), ["one\r\n  two words\n\nprompt> ", "error\n"]);
        log.end(0, "T");
        assert_eq!(shown(&log), ["one\r\n  two words\n\nprompt> ", "error\n"]);
        for number in 0..10_000 {
            log.take(0, format!("line {number}\n").as_bytes(), "T");
        }
        let [text, _] = shown(&log);
        assert!(text.starts_with("line ") && text.ends_with("line 9999\n"), "whole lines from the end");
        assert!((1_000..REPLAY_BYTES_MAX as usize).contains(&text.len()), "{} bytes", text.len());
    }

    #[test]
    fn a_full_file_is_set_aside_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = Log::open(&path).unwrap();
        let line = [vec![b'y'; 9_999], vec![b'\n']].concat();
        for _ in 0..1_100 {
            log.take(0, &line, "T");
        }
        assert!(fs::metadata(directory.path().join("0.log.1")).unwrap().len() >= FILE_BYTES_MAX);
        assert!(fs::metadata(&path).unwrap().len() < FILE_BYTES_MAX);
    }
}
