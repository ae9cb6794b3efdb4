//! Digests: the names of content, and readers that check content against them while it passes.
//!
//! Only sha256 is known: it is what every registry uses. A digest that does not parse never becomes a path.
//!
//! Read next: [`super::layer`] (who checks layers with it).

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::ImageError;

use super::refused;

/// `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Reads one; anything but sha256 in its canonical form is refused.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let Some(hex) = text.strip_prefix("sha256:") else {
            return Err(refused(format!("the digest {text:?} is not a sha256 digest")));
        };
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refused(format!("the digest {text:?} is not 64 lower-case hexadecimal digits")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The digest of all that a hasher was given.
    pub(super) fn finish(hasher: Sha256) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hasher.finalize() {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        Self(text)
    }

    /// The hexadecimal part: a file name that cannot leave its directory.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// All of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses bytes that are not what this digest names.
    pub(super) fn verify(&self, what: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let found = Self::of(bytes);
        if found == *self {
            return Ok(());
        }
        Err(refused(format!("{what} should have the digest {self} and has {found}")))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Passes bytes on, counting and hashing them.
pub(super) struct HashingReader<R> {
    reader: R,
    hasher: Sha256,
    count: u64,
}

impl<R: Read> HashingReader<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, hasher: Sha256::new(), count: 0 }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The digest and the number of the bytes that passed.
    pub(super) fn finish(self) -> (Digest, u64) {
        (Digest::finish(self.hasher), self.count)
    }

    /// The digest of the bytes that passed, and what `last` makes of the reader beneath.
    pub(super) fn finish_with<T>(self, last: impl FnOnce(R) -> T) -> (Digest, T) {
        (Digest::finish(self.hasher), last(self.reader))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}
