//! Apply, as kubectl does it on the client's side: what is not there is created, what is there is patched.
//!
//! What was applied before and is left out now is removed; fields that the manifest never named are left
//! alone. It must not be taken for server-side apply, which knows who set which field.

use std::sync::Arc;

use client::PatchKind;
use model::encoded::Encoded;
use model::patch::{LAST_APPLIED, add_removals, last_applied};
use model::status::Status;
use serde_json::Value;

use super::modify::Part;
use crate::api::Api;
use crate::request::{Address, Context, Input, WriteOptions};

/// What applying made of an object.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The object before; `None` where there was none.
    pub before: Option<Value>,
    /// The object after.
    pub after: Arc<Encoded>,
}

impl Api {
    /// Applies a manifest. Its metadata and annotations must be objects, or not be there.
    pub async fn apply(
        &self,
        cx: &Context,
        address: &Address,
        mut manifest: Value,
        options: &WriteOptions,
    ) -> Result<Applied, Status> {
        if address.kind.namespaced {
            manifest["metadata"]["namespace"] = address.namespace.as_str().into();
        }
        manifest["metadata"]["annotations"][LAST_APPLIED] = last_applied(&manifest).into();
        let found = match self.current(address) {
            Ok((_, found)) => Some(found),
            Err(status) if status.is_not_found() => {
                let collection = Address::new(address.kind, &address.namespace, "");
                match self.create(cx, &collection, Input::from(manifest.clone()), options).await {
                    Ok(after) => return Ok(Applied { before: None, after }),
                    // Somebody was faster.
                    Err(status) if status.is_already_exists() => None,
                    Err(status) => return Err(status),
                }
            }
            Err(status) => return Err(status),
        };
        let before = match found {
            Some(found) => found,
            None => self.current(address)?.1,
        };
        let applied = before["metadata"]["annotations"][LAST_APPLIED].as_str();
        if let Some(applied) = applied.and_then(|text| serde_json::from_str(text).ok()) {
            add_removals(&applied, &mut manifest, address.kind.definition);
        }
        let kind = PatchKind::StrategicMerge;
        let written = self.patch(cx, address, Part::Main, kind, &manifest, options).await?;
        Ok(Applied { before: Some(before), after: written.object })
    }
}
