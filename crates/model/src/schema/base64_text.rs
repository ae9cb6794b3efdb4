//! Base64 as upstream reads and writes it: standard alphabet, padded, line breaks ignored when reading.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// `Ok(None)` when the text is canonical already, the canonical text where it differs, or the offset of
/// the first byte that is wrong.
pub(super) fn canonical(text: &str) -> Result<Option<String>, usize> {
    if !text.contains(['\n', '\r']) {
        return match valid(text) {
            true => Ok(None),
            false => Err(first_wrong(text)),
        };
    }
    let joined: String = text.chars().filter(|character| !matches!(character, '\n' | '\r')).collect();
    match valid(&joined) {
        true => Ok(Some(joined)),
        false => Err(first_wrong(text)),
    }
}

/// Decodes in pieces through a small buffer, since only the verdict is wanted.
fn valid(text: &str) -> bool {
    // A multiple of four characters, so that every piece but the last stands for whole bytes.
    const PIECE: usize = 1024;
    let mut buffer = [0_u8; PIECE];
    let mut pieces = text.as_bytes().chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        let padded = piece.ends_with(b"=");
        if (padded && !last) || STANDARD.decode_slice(piece, &mut buffer).is_err() {
            return false;
        }
    }
    true
}

/// Where reading stops: the offset of the first character that cannot stand there, or the end.
fn first_wrong(text: &str) -> usize {
    let mut seen = 0;
    let mut padding = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' | b'\r' => continue,
            b'=' if padding == 0 && seen % 4 >= 2 => padding = 4 - seen % 4 - 1,
            b'=' if padding > 0 => padding -= 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if !text[..at].contains('=') => {}
            _ => return at,
        }
        seen += 1;
    }
    text.len() - text.len() % 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_are_dropped_and_nothing_else_is_changed() {
        assert_eq!(canonical("aGVsbG8="), Ok(None));
        assert_eq!(canonical(""), Ok(None));
        assert_eq!(canonical("aGVs\nbG8=\r\n"), Ok(Some("aGVsbG8=".to_owned())));
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        assert_eq!(canonical("aGV%bG8="), Err(3));
        assert_eq!(canonical("hello"), Err(4));
        assert_eq!(canonical("aGVsbG8=aGVs"), Err(8));
    }

    #[test]
    fn long_texts_are_read_in_pieces() {
        let long = STANDARD.encode(vec![7_u8; 5_000]);
        assert_eq!(canonical(&long), Ok(None));
        let mut broken = long.into_bytes();
        broken[1023] = b'=';
        assert!(canonical(std::str::from_utf8(&broken).expect("ASCII")).is_err());
    }
}
