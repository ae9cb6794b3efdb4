//! Patch: a change described by the client, applied to what stands there.

use client::PatchKind;
use model::patch::PatchError;
use model::status::{Reason, Status};
use serde_json::Value;

use super::modify::{Part, Proposal};
use super::{Written, intake, metadata};
use crate::api::Api;
use crate::request::{Address, Context, WriteOptions};

/// Upstream's limit on operations in one JSON patch.
const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

impl Api {
    /// Patches an object.
    pub async fn patch(
        &self,
        cx: &Context,
        address: &Address,
        part: Part,
        patch_kind: PatchKind,
        patch: &Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let kind = address.kind;
        self.modify(cx, address, part, options, |old| {
            let mut object = apply(patch_kind, kind.definition, old, patch)?;
            intake::accept_patched(cx, kind, &mut object, patch, options)?;
            metadata::check_name(&object, address)?;
            check_namespace(&object, address)?;
            let asked = metadata::text(&object, "resourceVersion");
            let conditional = asked != metadata::text(old, "resourceVersion") || names_revision(patch);
            Ok(Proposal { object, conditional })
        })
        .await
    }
}

/// The patched tree.
pub(crate) fn apply(
    patch_kind: PatchKind,
    definition: &str,
    old: &Value,
    patch: &Value,
) -> Result<Value, Status> {
    let refused = |error: PatchError| Status::bad_request(error.to_string());
    match patch_kind {
        PatchKind::Json => {
            let operations = patch.as_array().map_or(0, Vec::len);
            if operations > JSON_PATCH_OPERATIONS_MAX {
                return Err(Status::new(
                    Reason::RequestEntityTooLarge,
                    format!(
                        "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, \
                         got {operations}"
                    ),
                ));
            }
            let mut object = old.clone();
            model::patch::json(&mut object, patch).map_err(|error| {
                let malformed = matches!(error, PatchError::MalformedJsonPatch(_));
                let mut status = refused(error);
                if !malformed {
                    status.reason = Reason::Invalid;
                }
                status
            })?;
            Ok(object)
        }
        PatchKind::Merge => {
            if !patch.is_object() {
                return Err(Status::bad_request("a merge patch must be an object"));
            }
            let mut object = old.clone();
            model::patch::merge(&mut object, patch);
            Ok(object)
        }
        PatchKind::StrategicMerge => {
            if !patch.is_object() {
                return Err(Status::bad_request("a strategic merge patch must be an object"));
            }
            model::patch::strategic(old, patch, definition).map_err(refused)
        }
    }
}

fn names_revision(patch: &Value) -> bool {
    match patch {
        Value::Array(operations) => {
            operations.iter().any(|operation| operation["path"] == "/metadata/resourceVersion")
        }
        other => other["metadata"]["resourceVersion"].is_string(),
    }
}

fn check_namespace(object: &Value, address: &Address) -> Result<(), Status> {
    let namespace = metadata::text(object, "namespace");
    if namespace == address.namespace {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "the namespace of the object ({namespace}) does not match the namespace on the URL ({})",
        address.namespace
    )))
}
