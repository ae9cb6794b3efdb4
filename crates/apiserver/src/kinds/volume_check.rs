//! What claims and volumes must be, and what may change about them.

use model::field::{ErrorList, Path};
use serde_json::Value;

/// The spec of a claim or of a claim template.
pub(crate) fn claim_spec(_spec: &Value, _path: &Path) -> ErrorList {
    ErrorList::new()
}
/// x
pub(crate) fn old_class_annotation(_claim: &Value) -> ErrorList {
    ErrorList::new()
}
/// An update of a claim.
pub(crate) fn claim_update(_new: &Value, _old: &Value) -> ErrorList {
    ErrorList::new()
}
/// x
pub(crate) fn claim_status(_new: &Value) -> ErrorList {
    ErrorList::new()
}
/// x
pub(crate) fn claim_warnings(_spec: &Value, _path: &str) -> Vec<String> {
    Vec::new()
}
/// x
pub(crate) fn volume(_object: &Value) -> ErrorList {
    ErrorList::new()
}
/// x
pub(crate) fn volume_update(new: &Value, _old: &Value) -> ErrorList {
    volume(new)
}
