//! Writing a commit's own revision into the value it stores.
//!
//! A value is bytes; this file knows nothing of them but where the hole is. Read next:
//! [`crate::api::Template`].

use bytes::{Bytes, BytesMut};

use crate::api::Template;
use crate::{Encoded, Revision};

/// The template's bytes with `revision` written into the hole.
pub(crate) fn fill(template: &Template, revision: Revision) -> Bytes {
    match template.revision_hole {
        None => template.bytes.clone(),
        Some(hole) => splice(&template.bytes, hole, 0, revision),
    }
}

/// A stored value as it reads at a later revision: the digits in its hole are replaced. Deletions need it
/// when
/// the caller names no final value (a key whose time ran out).
pub(crate) fn refill(object: &Encoded, hole: Option<u32>, revision: Revision) -> Bytes {
    match hole {
        None => object.bytes().clone(),
        Some(hole) => {
            let digits = object.revision().to_string().len();
            splice(object.bytes(), hole as usize, digits, revision)
        }
    }
}

fn splice(bytes: &[u8], hole: usize, digits: usize, revision: Revision) -> Bytes {
    let text = revision.to_string();
    let mut filled = BytesMut::with_capacity(bytes.len() - digits + text.len());
    filled.extend_from_slice(&bytes[..hole]);
    filled.extend_from_slice(text.as_bytes());
    filled.extend_from_slice(&bytes[hole + digits..]);
    filled.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_written_into_the_hole_and_replaced_when_the_key_is_removed() {
        let template = Template { bytes: Bytes::from_static(br#"{"v":"","x":1}"#), revision_hole: Some(6) };
        let bytes = fill(&template, Revision(99));
        assert_eq!(&bytes[..], br#"{"v":"99","x":1}"#);
        let object = Encoded::new(bytes, Revision(99));
        assert_eq!(&refill(&object, Some(6), Revision(100))[..], br#"{"v":"100","x":1}"#);
        assert_eq!(&refill(&object, None, Revision(100))[..], br#"{"v":"99","x":1}"#);
    }
}
