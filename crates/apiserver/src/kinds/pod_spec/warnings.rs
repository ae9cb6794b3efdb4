//! Warnings about pod specs that are accepted.
use serde_json::Value;
/// The warnings.
pub(crate) fn spec(_spec: &Value, _path: &str) -> Vec<String> {
    Vec::new()
}
