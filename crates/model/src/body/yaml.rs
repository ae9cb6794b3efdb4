//! YAML bodies: one document, read as the JSON it stands for.
//!
//! Anchors and aliases are allowed, but what they expand to is bounded: a few lines of YAML can stand for
//! billions of values.

use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use super::{Decoded, tree};

/// Most nodes, and most events replayed for aliases. A body of 3 MiB has at most 1.5 million nodes, of which
/// each costs some 100 bytes; real manifests have thousands.
const NODES_MAX: usize = 250_000;
/// Most bytes that aliases may make of the body's texts.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most uses of aliases.
const ALIASES_MAX: usize = 1_000;

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
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 4 * NODES_MAX,
            max_nodes: NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_recorded_anchor_bytes: TEXT_BYTES_MAX,
            max_total_scalar_bytes: TEXT_BYTES_MAX,
            max_depth: tree::DEPTH_MAX,
            flow_nesting_limit: tree::DEPTH_MAX,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        merge_keys: MergeKeyPolicy::Merge,
        with_snippet: false,
    }
}
