//! Patches: JSON patch (RFC 6902), merge patch (RFC 7396) and Kubernetes' strategic merge patch.
//!
//! All are functions from values to values. They must never check what comes out: whoever applies a patch
//! passes the result through the schema, the defaults and validation, as if it had been sent whole.
//!
//! Read next: [`strategic`] (the one that is ours alone), [`error`].

pub mod error;
mod json;
pub mod strategic;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use error::PatchError;
pub use json::{COPIED_BYTES_MAX, MOVED_VALUES_MAX, OPERATIONS_MAX, json};

/// The annotation where `kubectl apply` looks for what was applied before, so that it can take away what is
/// left out later.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A manifest as that annotation has it, in the form that kubectl writes: with annotations, but without this
/// one, and a line break behind it.
pub fn last_applied(manifest: &Value) -> String {
    let mut object = manifest.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let annotations = metadata.entry("annotations").or_insert_with(|| serde_json::json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove(LAST_APPLIED);
        }
    }
    format!("{object}\n")
}

/// Applies a merge patch: objects merge field by field, `null` removes a field, all else replaces.
pub fn merge(value: &mut Value, patch: &Value) {
    json_patch::merge(value, patch);
}

/// Applies a strategic merge patch to an object of a definition. Patches of kinds that have no definition
/// (custom resources) are refused, as upstream refuses them.
pub fn strategic(original: &Value, patch: &Value, definition: &str) -> Result<Value, PatchError> {
    strategic::apply(crate::schema::definitions(), original, patch, definition)
}

/// Adds to what is wanted, as a strategic merge patch, the removal of what is only in what the same person
/// applied before.
pub fn add_removals(before: &Value, wanted: &mut Value, definition: &str) {
    strategic::removals::add(crate::schema::definitions(), before, wanted, definition);
}
