//! What the API server asks of whoever knows the StatefulSet controller's mind: what a set would do.
//!
//! The API server finds out what a change would make of the set, and hands the set on; in one process the
//! controllers' own plan answers. Whoever answers must write nothing.

use async_trait::async_trait;
use model::status::Status;
use serde_json::Value;

/// What would happen to a set.
#[derive(Debug, Clone)]
pub enum Change {
    /// It would be written so.
    Write {
        /// The set as it would stand there, with its status.
        set: Value,
        /// It is not there yet.
        is_new: bool,
    },
    /// It would be deleted.
    Delete {
        /// The set as it stands there.
        set: Value,
    },
}

/// Tells what a change would do.
#[async_trait]
pub trait Forecaster: Send + Sync {
    /// The status of a `StatefulSetReview`.
    ///
    /// # Errors
    /// The cluster could not be read, or the set not be understood.
    async fn forecast(&self, change: Change) -> Result<Value, Status>;
}
