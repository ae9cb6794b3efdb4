//! The one path every request takes, whatever its kind.
//!
//! A write: [`intake`] (decode against the schema) → default → admit → prepare → [`metadata`] → validate →
//! [`commit`]. A read: [`selection`] over the store's own bytes. Nothing here may depend on a kind beyond its
//! descriptor; what is peculiar to a subresource is in [`crate::subresources`].

pub(crate) mod apply;
pub(crate) mod commit;
pub(crate) mod continuation;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod delete_collection;
pub(crate) mod intake;
pub(crate) mod metadata;
pub(crate) mod modify;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod selection;
pub(crate) mod update;
pub(crate) mod watch;

use std::sync::Arc;

use model::encoded::Encoded;

pub use apply::Applied;

/// Tries of a write whose conditions are not the client's (a patch, a graceful deletion, an allocation).
/// Each failed try means that somebody else's write went through, so five are plenty but under a storm of
/// writers; upstream's number too.
pub(crate) const TRIES_MAX: usize = 5;

/// A write that went through.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object after it.
    pub object: Arc<Encoded>,
    /// It was not there before.
    pub created: bool,
}
