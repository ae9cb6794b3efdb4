//! JSON patch: RFC 6902, within upstream's bounds.

use json_patch::PatchOperation;
use serde::Deserialize;
use serde_json::Value;

use super::PatchError;
use crate::schema::{DEPTH_MAX, fits};

/// Operations of one JSON patch; upstream's own limit.
pub const OPERATIONS_MAX: usize = 10_000;

/// Bytes that `copy` may add in one JSON patch; upstream's own limit. A few hundred operations could
/// otherwise double an object until memory is full.
pub const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Values that `move` may carry along in one JSON patch, counted each time. Looking at them for their depth
/// costs about 10 ns each, so that this is a twentieth of a second.
pub const MOVED_VALUES_MAX: usize = 5_000_000;

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
    let mut moved = 0;
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
        if let PatchOperation::Move(change) = operation {
            moved += change.from.resolve(&result).map_or(0, count);
            if moved > MOVED_VALUES_MAX {
                let text = format!("the moves of this patch carry more than {MOVED_VALUES_MAX} values");
                return Err(PatchError::Operation(text));
            }
        }
        if !stays_shallow(operation, &result) {
            let text = format!("the patched object would nest deeper than {DEPTH_MAX} levels");
            return Err(PatchError::Operation(text));
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

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// A few thousand operations could build a value so deep that dropping it overflows the stack.
fn stays_shallow(operation: &PatchOperation, value: &Value) -> bool {
    let inserted = match operation {
        PatchOperation::Add(change) => Some(&change.value),
        PatchOperation::Replace(change) => Some(&change.value),
        PatchOperation::Move(change) => change.from.resolve(value).ok(),
        PatchOperation::Copy(change) => change.from.resolve(value).ok(),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    let levels = DEPTH_MAX.checked_sub(operation.path().count());
    inserted.is_none_or(|inserted| levels.is_some_and(|levels| fits(inserted, levels)))
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
        InvalidFromPointer => {
            format!("{name} operation does not apply: doc is missing from path: missing value")
        }
        _ => format!("{name} operation does not apply: doc is missing path: {path}: missing value"),
    }
}
