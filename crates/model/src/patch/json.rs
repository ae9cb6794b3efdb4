//! JSON patch: RFC 6902, within upstream's bounds.

use json_patch::PatchOperation;
use serde::Deserialize;
use serde_json::Value;

use super::PatchError;

/// Operations of one JSON patch; upstream's own limit.
pub const OPERATIONS_MAX: usize = 10_000;

/// Bytes that `copy` may add in one JSON patch; upstream's own limit. A few hundred operations could
/// otherwise double an object until memory is full.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch. After an error `value` is what it was.
pub fn json(value: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Value::Array(list) = patch else {
        return Err(PatchError::MalformedJsonPatch("a JSON patch is a list of operations".to_owned()));
    };
    if list.len() > OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations { count: list.len(), max: OPERATIONS_MAX });
    }
    let operations = Vec::<PatchOperation>::deserialize(patch)
        .map_err(|error| PatchError::MalformedJsonPatch(error.to_string()))?;
    let mut result = value.clone();
    let mut copied = 0;
    for operation in &operations {
        if let PatchOperation::Copy(copy) = operation {
            copied += copy.from.resolve(&result).map_or(0, |value| value.to_string().len());
            if copied > COPIED_BYTES_MAX {
                return Err(PatchError::Operation(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, \
                     exceeding the limit {COPIED_BYTES_MAX}"
                )));
            }
        }
        if tests_absence(operation, &result) {
            continue;
        }
        json_patch::patch(&mut result, std::slice::from_ref(operation))
            .map_err(|error| PatchError::Operation(refusal(operation, &error.kind)))?;
    }
    *value = result;
    Ok(())
}

/// Upstream's library takes a test for `null` where there is nothing as passed.
fn tests_absence(operation: &PatchOperation, value: &Value) -> bool {
    matches!(operation, PatchOperation::Test(test)
        if test.value.is_null() && test.path.resolve(value).is_err())
}

fn refusal(operation: &PatchOperation, kind: &json_patch::PatchErrorKind) -> String {
    use json_patch::PatchErrorKind::{InvalidFromPointer, TestFailed};
    let path = operation.path().as_str();
    let name = match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => return format!("testing value {path} failed: test failed"),
    };
    match kind {
        TestFailed => format!("testing value {path} failed: test failed"),
        InvalidFromPointer => format!("{name} operation does not apply: doc is missing from path: missing value"),
        _ => format!("{name} operation does not apply: doc is missing path: {path}: missing value"),
    }
}
