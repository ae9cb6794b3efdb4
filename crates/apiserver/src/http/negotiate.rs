//! Which form of an answer the client asked for in its `Accept` header.

use model::status::{Reason, Status};

/// What the rows of a table carry of their objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// All.
    Object,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object or list itself.
    Plain,
    /// `meta.k8s.io/v1` `Table`.
    Table,
    /// `meta.k8s.io/v1` `PartialObjectMetadata` or its list.
    Metadata,
}

/// The first acceptable form of those listed.
pub(crate) fn shape(accept: &str) -> Result<Shape, Status> {
    if accept.trim().is_empty() {
        return Ok(Shape::Plain);
    }
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut wanted = None;
        let mut group_version = (None, None);
        for part in parts {
            match part.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                Some(("as", value)) => wanted = Some(value),
                Some(("g", value)) => group_version.0 = Some(value),
                Some(("v", value)) => group_version.1 = Some(value),
                _ => {}
            }
        }
        if !matches!(media, "application/json" | "application/*" | "*/*") {
            continue;
        }
        let ours = group_version == (Some("meta.k8s.io"), Some("v1"));
        match wanted {
            None => return Ok(Shape::Plain),
            Some("Table") if ours => return Ok(Shape::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if ours => {
                return Ok(Shape::Metadata);
            }
            Some(_) => {}
        }
    }
    Err(Status::new(Reason::NotAcceptable, "only the following media types are accepted: application/json"))
}
