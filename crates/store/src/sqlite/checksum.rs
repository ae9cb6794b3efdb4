//! The checksum that every row carries: CRC-32 (IEEE 802.3) over all its columns.

use crate::log::Row;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

/// The checksum of a row.
pub(crate) fn of(row: &Row) -> u32 {
    let mut sum = u32::MAX;
    sum = extend(sum, &row.id.raw().to_le_bytes());
    sum = extend(sum, &[u8::from(row.last), u8::from(row.deleted)]);
    sum = extend(sum, &row.created.0.to_le_bytes());
    sum = extend(sum, &row.hole.map_or(-1, i64::from).to_le_bytes());
    sum = extend(sum, &row.expires_ms.unwrap_or(i64::MIN).to_le_bytes());
    sum = extend(sum, &row.at_ms.to_le_bytes());
    sum = extend(sum, &(row.key.len() as u64).to_le_bytes());
    sum = extend(sum, row.key.as_bytes());
    !extend(sum, &row.value)
}

fn extend(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| sum >> 8 ^ TABLE[((sum ^ u32::from(*byte)) & 0xFF) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(!extend(u32::MAX, b"123456789"), 0xCBF4_3926);
    }
}
