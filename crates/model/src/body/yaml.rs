//! YAML bodies: one document, read as the JSON it stands for.

use super::{BODY_BYTES_MAX, Decoded, tree};

/// Why a YAML body was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum YamlError {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    /// Not YAML, or more of it than is allowed.
    #[error("{0}")]
    Syntax(String),
}

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, YamlError> {
    let text = std::str::from_utf8(bytes)?;
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        tree::from_deserializer(deserializer)
    })
    .map_err(|error| YamlError::Syntax(first_line(&error.to_string())))
}

/// The parser's messages go on with a picture of the input, which has no place in a status.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn options() -> serde_saphyr::Options {
    let _ = BODY_BYTES_MAX;
    serde_saphyr::Options::default()
}
