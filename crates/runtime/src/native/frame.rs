//! The frames that the agent exchanges with shims and with running execs.
//!
//! A frame is one byte of kind, four bytes of length (little endian) and that many bytes. Both ends must
//! refuse a frame longer than [`PAYLOAD_BYTES_MAX`].
//!
//! Read next: `shim/supervise.rs` and `shim/exec.rs` (one end), `session.rs` (the other).

/// Longest payload. 32 KiB: a pipe's 64 KiB buffer holds two frames.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 5;

/// Standard input, to the process.
pub(crate) const STDIN: u8 = 0;
/// End of standard input.
pub(crate) const STDIN_CLOSE: u8 = 1;
/// Columns and rows, two bytes each.
pub(crate) const RESIZE: u8 = 2;
/// Standard output, from the process.
pub(crate) const STDOUT: u8 = 10;
/// Standard error.
pub(crate) const STDERR: u8 = 11;
/// Exit code, four bytes: the last frame.
pub(crate) const ENDED: u8 = 12;
/// The command could not be started, as text: the last frame.
pub(crate) const START_FAILED: u8 = 13;
/// To a shim: tell me when the container runs (an empty [`WATCH`] frame) and is over (the connection ends).
pub(crate) const WATCH: u8 = 20;
/// To a shim: send this signal, four bytes; answered with an empty frame of the same kind.
pub(crate) const SIGNAL: u8 = 21;
/// To a shim: attach; one byte, bit 0 standard input, 1 standard output, 2 standard error.
pub(crate) const ATTACH: u8 = 22;

/// Puts a header into the bytes that precede its payload.
pub(crate) fn header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    assert!(length <= PAYLOAD_BYTES_MAX, "a frame's payload is bounded by its maker");
    let length = u32::try_from(length).expect("bounded by PAYLOAD_BYTES_MAX").to_le_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

/// Appends a whole frame.
pub(crate) fn append(buffer: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    buffer.extend_from_slice(&header(kind, payload.len()));
    buffer.extend_from_slice(payload);
}

/// A frame found at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// Not all of it is there yet.
    Incomplete,
    /// It announces more than is allowed.
    TooLong,
    /// Here it is, and how many bytes it took.
    Frame { kind: u8, payload: &'a [u8], taken: usize },
}

/// Looks at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Parsed::Incomplete };
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Parsed::TooLong;
    }
    match rest.get(..length) {
        None => Parsed::Incomplete,
        Some(payload) => Parsed::Frame { kind: head[0], payload, taken: HEADER_BYTES + length },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_only_when_it_is_whole() {
        let mut bytes = Vec::new();
        append(&mut bytes, STDOUT, b"hello");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Parsed::Incomplete);
        }
        assert_eq!(parse(&bytes), Parsed::Frame { kind: STDOUT, payload: b"hello", taken: 10 });
        assert_eq!(parse(&[STDIN, 0, 0, 1, 0]), Parsed::TooLong);
    }
}
