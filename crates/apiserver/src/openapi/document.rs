//! One document: its bytes, and the names of its content.
//!
//! It must never change after it was made; its hash is part of URLs that clients cache for ever.

use std::fmt::Write as _;
use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One document.
#[derive(Debug)]
pub struct Document {
    /// Hash of the content, in upper case, for `?hash=`.
    pub hash: String,
    /// The `ETag`: the hash in quotes.
    pub etag: String,
    gzip: Bytes,
    length: usize,
}

impl Document {
    pub(super) fn new(value: &Value) -> Document {
        let text = value.to_string();
        let hash = Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hash, byte| {
            write!(hash, "{byte:02X}").expect("writing to a string does not fail");
            hash
        });
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("writing to memory does not fail");
        let gzip = encoder.finish().expect("writing to memory does not fail").into();
        Document { etag: format!("\"{hash}\""), hash, gzip, length: text.len() }
    }

    /// The document as gzip, for clients that accept it.
    pub fn gzip(&self) -> Bytes {
        self.gzip.clone()
    }

    /// The document as plain JSON, unpacked for this call.
    pub fn json(&self) -> Bytes {
        let mut text = Vec::with_capacity(self.length);
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut text).expect("we packed it ourselves");
        text.into()
    }

    /// True when a request names this very content in `?hash=`, so that the answer may be cached for ever
    pub fn is_named_by(&self, query: Option<&str>) -> bool {
        query.is_some_and(|query| {
            query.split('&').any(|pair| pair.strip_prefix("hash=").is_some_and(|hash| hash == self.hash))
        })
    }
}
