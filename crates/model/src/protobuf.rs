//! Decodes request bodies in Kubernetes' protobuf encoding.

use serde_json::Value;

/// The bytes are not a Kubernetes object in protobuf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The body does not begin as every such body does.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
}

/// Decodes one object.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let _ = body.strip_prefix(b"k8s\0").ok_or(ProtobufError::NoMagic)?;
    Err(ProtobufError::NoMagic)
}
