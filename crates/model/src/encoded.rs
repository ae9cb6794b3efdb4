//! One version of one object: its bytes, and lazily what they mean.
//!
//! A version is decoded at most once in a process, whoever asks first; everybody else shares the result.
//! An [`Encoded`] never changes: a new version is a new value.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A point in the store's history. One store has one counter; it only grows. Zero is before everything.
/// Clients see it as `metadata.resourceVersion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The bytes of a stored object were not what their kind promises.
#[derive(Debug, thiserror::Error)]
#[error("decode the stored object at revision {revision}")]
pub struct DecodeError {
    /// Which version it was.
    pub revision: Revision,
    /// What the decoder said.
    #[source]
    pub source: serde_json::Error,
}

/// One version of one object, as JSON that carries its own `resourceVersion`.
pub struct Encoded {
    revision: Revision,
    bytes: Bytes,
    metadata: OnceLock<Arc<ObjectMeta>>,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
    fields: OnceLock<Box<[(&'static str, String)]>>,
}

impl Encoded {
    /// Wraps bytes that already carry `revision` as their `metadata.resourceVersion`.
    pub fn new(bytes: Bytes, revision: Revision) -> Encoded {
        Encoded {
            revision,
            bytes,
            metadata: OnceLock::new(),
            decoded: OnceLock::new(),
            fields: OnceLock::new(),
        }
    }

    /// The JSON, ready to be sent to a client.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The revision that wrote this version.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object's metadata alone, decoded at most once.
    pub fn metadata(&self) -> Result<&Arc<ObjectMeta>, DecodeError> {
        if let Some(metadata) = self.metadata.get() {
            return Ok(metadata);
        }
        let envelope: Envelope = self.parse()?;
        Ok(self.metadata.get_or_init(|| Arc::new(envelope.metadata)))
    }

    /// The object as `T`, decoded at most once for the first type asked for. A second type is decoded
    /// each time: an object has one type of its own, and others are asked for seldom.
    pub fn decode<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, DecodeError> {
        if let Some(decoded) = self.decoded.get()
            && let Ok(typed) = Arc::clone(decoded).downcast::<T>()
        {
            return Ok(typed);
        }
        let typed: Arc<T> = Arc::new(self.parse()?);
        // Somebody else may have been faster; then both results are equal and either will do.
        let _ = self.decoded.set(typed.clone());
        Ok(typed)
    }

    /// The object as a JSON tree, parsed anew each time: trees are large and are wanted to be changed.
    pub fn value(&self) -> Result<serde_json::Value, DecodeError> {
        self.parse()
    }

    /// The fields that selectors of the object's kind may name, read from its tree by `read` at most once:
    /// every watcher with a field selector asks for them, of every version.
    pub fn selectable_fields(
        &self,
        read: impl FnOnce(&serde_json::Value) -> Vec<(&'static str, String)>,
    ) -> Result<&[(&'static str, String)], DecodeError> {
        if let Some(fields) = self.fields.get() {
            return Ok(fields);
        }
        let fields = read(&self.parse()?).into_boxed_slice();
        Ok(self.fields.get_or_init(|| fields))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        serde_json::from_slice(&self.bytes).map_err(|source| DecodeError { revision: self.revision, source })
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Encoded(@{}, {} bytes)", self.revision, self.bytes.len())
    }
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    metadata: ObjectMeta,
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[test]
    fn a_version_is_decoded_once_and_shared() {
        let bytes = Bytes::from_static(br#"{"metadata":{"name":"a","resourceVersion":"7"}}"#);
        let encoded = Encoded::new(bytes, Revision(7));
        let first = encoded.decode::<ConfigMap>().expect("decodes");
        let second = encoded.decode::<ConfigMap>().expect("decodes");
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(encoded.metadata().expect("metadata").name.as_deref(), Some("a"));
    }

    #[test]
    fn broken_bytes_are_an_error_that_names_the_revision() {
        let encoded = Encoded::new(Bytes::from_static(b"{"), Revision(3));
        let error = encoded.decode::<ConfigMap>().expect_err("is broken");
        assert_eq!(error.to_string(), "decode the stored object at revision 3");
    }
}
