//! Questions: what would become of a StatefulSet, answered without writing.
//!
//! The set is taken through the same path as a write that is not carried out, in the name of whoever asks, so
//! that defaults and refusals are the real ones; what it would then do is told by the controller's own plan
//! ([`client::review::Forecaster`]). Nothing here may reach the store but reads.

use client::review::Change;
use model::review;
use model::status::Status;
use serde_json::{Value, json};

use crate::api::Api;
use crate::authz::{self, Attributes};
use crate::codec;
use crate::pipeline::intake;
use crate::request::{Address, Context, FieldValidation, Input, WriteOptions};

/// The question with its answer.
pub(crate) async fn answer(
    api: &Api,
    cx: &Context,
    address: &Address,
    mut object: Value,
) -> Result<Value, Status> {
    let kind = api
        .kind_at("apps", "v1", "statefulsets")
        .ok_or_else(|| Status::internal("this API server knows no StatefulSets"))?;
    let manifest = object["spec"]["manifest"].clone();
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    let set = Address::new(kind, &address.namespace, name);
    let is_deletion = object["spec"]["operation"] == review::DELETE;
    let verbs: &[&str] = if is_deletion { &["delete"] } else { &["create", "patch"] };
    for verb in verbs {
        authorize(api, cx, &set, verb)?;
    }
    let assumes_namespace = object["spec"]["assumeNamespace"] == true;
    let change = if is_deletion {
        deletion(api, &set)
    } else {
        write(api, cx, &set, manifest, assumes_namespace).await
    };
    object["status"] = match change {
        Ok(change) => api.forecaster()?.forecast(change).await?,
        Err(status) if status.code() < 500 => {
            json!({ "refused": { "message": status.message, "instead": instead(&status.message) } })
        }
        Err(status) => return Err(status),
    };
    Ok(object)
}

fn authorize(api: &Api, cx: &Context, set: &Address, verb: &str) -> Result<(), Status> {
    let attributes = Attributes {
        verb,
        group: &set.kind.gvr.group,
        resource: &set.kind.gvr.resource,
        namespace: &set.namespace,
        name: &set.name,
        path: "",
    };
    if api.authorizer.allows(&cx.user, &attributes) {
        Ok(())
    } else {
        Err(authz::refusal(&cx.user, &attributes))
    }
}

fn deletion(api: &Api, set: &Address) -> Result<Change, Status> {
    Ok(Change::Delete { set: api.current(set)?.1 })
}

/// What applying the manifest would make of the set: as `kubectl apply` does it, without doing it.
async fn write(
    api: &Api,
    cx: &Context,
    set: &Address,
    manifest: Value,
    assumes_namespace: bool,
) -> Result<Change, Status> {
    let options = WriteOptions {
        dry_run: true,
        field_validation: FieldValidation::Strict,
        field_manager: "ordinal-plan".to_owned(),
        assumes_namespace,
    };
    // Said first, and as of a new object: a patch would be complained about whole.
    intake::accept(cx, set.kind, Input::from(manifest.clone()), &options)?;
    let applied = Box::pin(api.apply(cx, set, manifest, &options)).await?;
    Ok(Change::Write { set: codec::value(&applied.after)?, is_new: applied.before.is_none() })
}

/// Which change would be allowed in place of one that is not.
fn instead(message: &str) -> Option<&'static str> {
    if message.contains("field can not be less than previous value") {
        return Some(
            "claims cannot shrink; to make those that come later smaller, delete the set with \
             --cascade=orphan and apply it anew: its pods and claims stay and are taken over",
        );
    }
    message.contains("updates to statefulset spec for fields other than").then_some(
        "the fields that may not change in place are serviceName, selector, podManagementPolicy and, but for \
         storage requests that grow, labels, annotations and volumeAttributesClassName, \
         volumeClaimTemplates: delete the set with --cascade=orphan and apply it anew, its pods and claims \
         stay and are taken over",
    )
}

#[cfg(test)]
mod tests {
    use super::instead;

    #[test]
    fn a_forbidden_change_comes_with_one_that_is_allowed() {
        assert!(instead("updates to statefulset spec for fields other than 'replicas'").is_some());
        assert_eq!(instead("spec.replicas: Invalid value: -1"), None);
    }
}
