//! Images: fetched from registries or read from archives, verified, unpacked once and kept.
//!
//! Nothing an image says is believed before it is checked: content is what its digest says, paths stay
//! beneath their layer, sizes stay within [`Limits`]. What is refused leaves nothing behind. This module
//! never mounts and never runs anything.
//!
//! Read next: [`store`] (the store), [`content`] (what is on disk), [`layer`] (unpacking), [`pull`] and
//! [`registry`] (fetching), [`archive`] (importing).

mod archive;
mod content;
mod digest;
mod documents;
mod layer;
mod limits;
mod pull;
mod reference;
mod registry;
mod store;
mod tarball;
#[cfg(test)]
mod tests;
mod tree;

pub use digest::Digest;
pub use limits::Limits;
pub use reference::Reference;
pub use store::{Store, StoreOptions};

use crate::api::ImageError;

/// The content is at fault.
fn refused(reason: String) -> ImageError {
    ImageError::Refused { reason }
}

/// This machine is at fault.
fn failed(operation: &str, reason: impl std::fmt::Display) -> ImageError {
    ImageError::Failed { operation: operation.to_owned(), reason: reason.to_string() }
}

/// A stream could not be read on: because of a limit, the disk, or what it holds.
fn read_error(error: &std::io::Error) -> ImageError {
    if let Some(limit) = error.get_ref().and_then(|inner| inner.downcast_ref::<ImageError>()) {
        return limit.clone();
    }
    if error.raw_os_error().is_some() {
        return failed("read the image's content", error);
    }
    refused(format!("the content is damaged: {error}"))
}
