//! Is the WAL whole? SQLite takes the first bad frame for the end of an unfinished write, and would silently
//! forget every acknowledged commit behind it.
//!
//! A commit begins only after the one before was flushed. So a bad frame may be followed by the rest of one
//! commit, never by a finished commit and more: then it is damage. The format is SQLite's "WAL-Index and WAL
//! file
//! format", section 4 of fileformat2.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// What is wrong with the WAL, if anything; an absent or empty one is in order.
pub(crate) fn damage(path: &Path) -> std::io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut reader, &mut header)? {
        return Ok(None);
    }
    let page_bytes = word(&header, 8) as usize;
    let big_endian = word(&header, 0) == 0x377F_0683;
    let mut sum = extend((0, 0), &header[..24], big_endian);
    let whole = word(&header, 0) & !1 == 0x377F_0682 && sum == (word(&header, 24), word(&header, 28));
    if !whole || !(512..=65536).contains(&page_bytes) {
        // The header is flushed before the first frame is written.
        let mut next = [0; FRAME_HEADER_BYTES];
        let frames = fill(&mut reader, &mut next)?;
        return Ok(frames.then(|| "the header of its WAL is not what was written".to_owned()));
    }
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let (mut number, mut bad, mut commit_behind) = (0_u64, None, false);
    while fill(&mut reader, &mut frame)? {
        number += 1;
        let same_age = frame[8..16] == header[16..24];
        if bad.is_none() {
            let part = extend(sum, &frame[..8], big_endian);
            sum = extend(part, &frame[FRAME_HEADER_BYTES..], big_endian);
            if !same_age || sum != (word(&frame, 16), word(&frame, 20)) {
                bad = Some(number);
            }
        }
        let (Some(bad), true) = (bad, same_age) else {
            continue;
        };
        if commit_behind {
            return Ok(Some(format!(
                "frame {bad} of its WAL is not what was written, and commits follow it"
            )));
        }
        commit_behind = word(&frame, 4) != 0;
    }
    Ok(None)
}

/// Whether the buffer could be filled; a short rest is an unfinished write.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn extend((mut first, mut second): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let number = |at: usize| {
        if big_endian { word(bytes, at) } else { word(bytes, at).swap_bytes() }
    };
    for at in (0..bytes.len()).step_by(8) {
        first = first.wrapping_add(number(at)).wrapping_add(second);
        second = second.wrapping_add(number(at + 4)).wrapping_add(first);
    }
    (first, second)
}
