//! Names of ControllerRevisions: a hash of the revision's data, in upstream's encoding.
//!
//! The same data under the same collision count must give the same name here and upstream, so that a set
//! moved from one to the other keeps its revisions and its pods their labels.

/// A revision's name is a DNS label with room for the dash and up to ten characters of hash in 253 bytes,
/// and upstream leaves some slack.
const SET_NAME_BYTES_MAX: usize = 223;

const SAFE_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

const FNV_OFFSET_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// FNV-1 (not 1a), 32 bit.
fn fnv1(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| state.wrapping_mul(FNV_PRIME) ^ u32::from(*byte))
}

/// The hash of a revision's raw data. `collision_count` goes in as decimal text, where there is one: a set
/// without one (`None`) hashes the data alone.
pub fn hash(data: &[u8], collision_count: Option<i32>) -> String {
    let mut state = fnv1(FNV_OFFSET_BASIS, data);
    if let Some(count) = collision_count {
        state = fnv1(state, count.to_string().as_bytes());
    }
    safe_encode(&state.to_string())
}

/// The hash of a Deployment's pod template, given in one fixed text form. Upstream hashes how Go prints the
/// struct: the form of the hash is the same here, its value is not, and nobody may rely on it.
pub fn template_hash(template: &[u8], collision_count: Option<i32>) -> String {
    let fnv1a = |state: u32, byte: &u8| (state ^ u32::from(*byte)).wrapping_mul(FNV_PRIME);
    let mut state = template.iter().fold(FNV_OFFSET_BASIS, fnv1a);
    if let Some(count) = collision_count {
        let bytes = i64::from(count).to_le_bytes();
        state = bytes.iter().fold(state, fnv1a);
    }
    safe_encode(&state.to_string())
}

/// Replaces each character by one of an alphabet in which no words can be spelled.
pub fn safe_encode(text: &str) -> String {
    let encode = |byte: u8| char::from(SAFE_ALPHABET[usize::from(byte) % SAFE_ALPHABET.len()]);
    text.bytes().map(encode).collect()
}

/// The name of the revision of `set` with this hash.
pub fn revision_name(set: &str, hash: &str) -> String {
    let mut end = set.len().min(SET_NAME_BYTES_MAX);
    while !set.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &set[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1() {
        // From the vectors published with the FNV draft.
        assert_eq!(fnv1(FNV_OFFSET_BASIS, b""), 0x811c_9dc5);
        assert_eq!(fnv1(FNV_OFFSET_BASIS, b"a"), 0x050c_5d7e);
        assert_eq!(fnv1(FNV_OFFSET_BASIS, b"foobar"), 0x31f0_b262);
    }

    #[test]
    fn digits_become_safe_characters() {
        // '0' is 48, and 48 modulo 27 is 21; '9' wraps around.
        assert_eq!(safe_encode("0123456789"), "4567 89bcdf".replace(' ', ""));
        assert_eq!(safe_encode(""), "");
    }

    #[test]
    fn the_collision_count_changes_the_hash() {
        let data = br#"{"spec":{"template":{}}}"#;
        assert_ne!(hash(data, Some(0)), hash(data, None));
        assert_ne!(hash(data, Some(0)), hash(data, Some(1)));
        assert_eq!(hash(data, Some(0)), hash(data, Some(0)));
    }

    #[test]
    fn long_set_names_are_cut() {
        assert_eq!(revision_name("web", "abc"), "web-abc");
        assert_eq!(revision_name(&"w".repeat(300), "abc").len(), 223 + 4);
    }
}
