//! A reader of tar streams that never holds more than a bounded header in memory.
//!
//! The `tar` crate's own iterator reads long names and extended headers whole, however large the archive
//! says they are; here each has a bound. GNU and PAX names, links, sizes, times, owners and extended
//! attributes are understood; sparse files are refused (no builder of images writes them).
//!
//! Read next: [`super::layer`] and [`super::archive`] (who read with it).

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::Range;

use tar::{EntryType, Header};

use crate::api::ImageError;

use super::{read_error, refused};

const BLOCK: u64 = 512;

/// Longest extended header: 256 attributes of 4 KiB, the most ext4 keeps of one file by far.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;

/// Longest path, as the kernel has it.
pub(super) const PATH_BYTES_MAX: usize = 4096;

/// One entry; its content is read from the [`Tarball`] itself.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
    pub(super) size: u64,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar stream, standing in the content of the entry that [`Tarball::entry`] gave last.
pub(super) struct Tarball<R> {
    reader: R,
    position: u64,
    content_left: u64,
    padding: u64,
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Tarball<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, position: 0, content_left: 0, padding: 0 }
    }

    /// Where in the stream the content of the last entry begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, skipping what is left of the last.
    pub(super) fn entry(&mut self) -> Result<Option<Entry>, ImageError> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| malformed("a size"))?;
            match header.entry_type() {
                EntryType::GNULongName => extended.path = Some(self.long_text(size)?),
                EntryType::GNULongLink => extended.link = Some(self.long_text(size)?),
                EntryType::XHeader => {
                    let records = self.document(size)?;
                    read_records(&records, &mut extended)?;
                }
                EntryType::XGlobalHeader => {
                    self.document(size)?;
                }
                EntryType::GNUSparse => return Err(refused("the archive has sparse files".to_owned())),
                _ => return self.finish(&header, size, extended).map(Some),
            }
        }
    }

    /// Reads to the end, so that everything after the last entry is seen by whoever counts and hashes.
    pub(super) fn drain(mut self) -> Result<R, ImageError> {
        io::copy(&mut self.reader, &mut io::sink()).map_err(|error| read_error(&error))?;
        Ok(self.reader)
    }

    fn finish(&mut self, header: &Header, size: u64, extended: Extended) -> Result<Entry, ImageError> {
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended
            .link
            .unwrap_or_else(|| header.link_name_bytes().map(Cow::into_owned).unwrap_or_default());
        if path.len() > PATH_BYTES_MAX || link.len() > PATH_BYTES_MAX {
            return Err(refused(format!("a path is longer than {PATH_BYTES_MAX} bytes")));
        }
        let mut kind = header.entry_type();
        if kind == EntryType::Regular && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let has_content = matches!(kind, EntryType::Regular | EntryType::Continuous);
        let size = if has_content { extended.size.unwrap_or(size) } else { size };
        self.expect_content(size)?;
        let mtime = number_or_none(header, 136..148, header.mtime()).map_err(|_| malformed("a time"))?;
        let uid = number_or_none(header, 108..116, header.uid()).map_err(|_| malformed("an owner"))?;
        let gid = number_or_none(header, 116..124, header.gid()).map_err(|_| malformed("a group"))?;
        Ok(Entry {
            path,
            link,
            kind,
            mode: number_or_none(header, 100..108, header.mode()).map_err(|_| malformed("a mode"))?,
            uid: extended.uid.unwrap_or(uid),
            gid: extended.gid.unwrap_or(gid),
            mtime: extended.mtime.unwrap_or((i64::try_from(mtime).unwrap_or(0), 0)),
            size: if has_content { size } else { 0 },
            attributes: extended.attributes,
        })
    }

    fn expect_content(&mut self, size: u64) -> Result<(), ImageError> {
        if size > i64::MAX as u64 {
            return Err(malformed("a size"));
        }
        self.content_left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, ImageError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(malformed("its end")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(&error)),
            }
        }
        self.position += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(malformed("a header's checksum"));
        }
        Ok(Some(header))
    }

    fn skip(&mut self) -> Result<(), ImageError> {
        let count = self.content_left + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(count), &mut io::sink())
            .map_err(|error| read_error(&error))?;
        if skipped != count {
            return Err(malformed("its end"));
        }
        self.position += count;
        (self.content_left, self.padding) = (0, 0);
        Ok(())
    }

    fn document(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        if size > EXTENDED_BYTES_MAX {
            return Err(refused(format!("an extended header is longer than {EXTENDED_BYTES_MAX} bytes")));
        }
        self.expect_content(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|error| read_error(&error))?;
        Ok(bytes)
    }

    fn long_text(&mut self, size: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = self.document(size)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }
}

impl<R: Read> Read for Tarball<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content_left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.content_left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// PAX records, each `<length> <key>=<value>\n`; values may hold any byte, so the length decides.
fn read_records(mut bytes: &[u8], extended: &mut Extended) -> Result<(), ImageError> {
    while !bytes.is_empty() {
        let space =
            bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(|| malformed("a record"))?;
        let length: usize = number(&bytes[..space]).ok_or_else(|| malformed("a record"))?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(malformed("a record"));
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(|| malformed("a record"))?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        match key {
            b"path" => extended.path = Some(value.to_vec()),
            b"linkpath" => extended.link = Some(value.to_vec()),
            b"size" => extended.size = Some(number(value).ok_or_else(|| malformed("a size"))?),
            b"uid" => extended.uid = Some(number(value).ok_or_else(|| malformed("an owner"))?),
            b"gid" => extended.gid = Some(number(value).ok_or_else(|| malformed("a group"))?),
            b"mtime" => extended.mtime = Some(time(value).ok_or_else(|| malformed("a time"))?),
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(refused("the archive has sparse files".to_owned()));
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    extended.attributes.push((name.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

/// A field that was left empty is zero: many builders leave those out that do not matter to them.
fn number_or_none<T: Default>(header: &Header, field: Range<usize>, read: io::Result<T>) -> io::Result<T> {
    let is_blank = header.as_bytes()[field].iter().all(|byte| matches!(byte, 0 | b' '));
    if is_blank { Ok(T::default()) } else { read }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `seconds[.fraction]`, possibly negative.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    let whole: i64 = seconds.parse().ok()?;
    if seconds.starts_with('-') && nanoseconds > 0 {
        return Some((whole.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((whole, nanoseconds))
}

fn malformed(what: &str) -> ImageError {
    refused(format!("the archive is damaged: {what} is not as it should be"))
}
