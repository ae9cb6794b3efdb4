//! What a Service must be, and what may change about it.

use model::field::ErrorList;
use serde_json::Value;

/// A Service by itself.
pub(crate) fn service(_object: &Value) -> ErrorList {
    ErrorList::new()
}

/// An update.
pub(crate) fn update(new: &Value, _old: &Value) -> ErrorList {
    service(new)
}
