//! What a StatefulSet must be, and what may change about it.

use model::field::ErrorList;
use serde_json::Value;

/// A new set.
pub(crate) fn create(_object: &Value) -> ErrorList {
    ErrorList::new()
}

/// An update of the set.
pub(crate) fn update(new: &Value, _old: &Value) -> ErrorList {
    create(new)
}

/// An update of its status.
pub(crate) fn status_update(_new: &Value, _old: &Value) -> ErrorList {
    ErrorList::new()
}

/// Warnings about an accepted set.
pub(crate) fn warnings(_object: &Value) -> Vec<String> {
    Vec::new()
}
