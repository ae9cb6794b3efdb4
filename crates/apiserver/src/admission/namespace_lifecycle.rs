//! Nothing is made in a namespace that is not there or is going, and some namespaces never go.

use async_trait::async_trait;
use model::resource::GroupVersionResource;
use model::status::{Cause, Status};
use serde_json::Value;
use store::{Compare, Expected};

use super::{Operation, Plugin, Review};
use crate::api::Api;
use crate::request::Address;

pub(crate) const NAMESPACES: GroupVersionResource = GroupVersionResource::constant("", "v1", "namespaces");
/// The ones that never go.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    async fn mutate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let namespace = review.address.namespace.as_str();
        // Nothing of a question is kept, and it may be about a namespace that is yet to be made.
        let is_question = review.address.kind.strategy.is_review();
        if review.operation != Operation::Create || namespace.is_empty() || is_question {
            return Ok(());
        }
        let Some(kind) = api.kind(&NAMESPACES) else { return Ok(()) };
        let key = Address::new(kind, "", namespace).key();
        let Some(entry) = api.store.get(&key) else {
            if review.assumes_namespace {
                return Ok(());
            }
            return Err(Status::not_found(&NAMESPACES, namespace));
        };
        let metadata = entry.object.metadata().map_err(Status::internal)?;
        if metadata.deletion_timestamp.is_some() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            return Err(terminating(&review.address.kind.gvr, name, namespace));
        }
        // The namespace must still be the same when the object is written: otherwise its deletion could
        // have looked for content, found none, and left this object behind.
        let expected = Expected::At(entry.object.revision());
        review.companions.compares.push(Compare { key, expected });
        Ok(())
    }

    async fn validate(
        &self,
        _api: &Api,
        review: &mut Review<'_>,
        _new: Option<&Value>,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let name = review.address.name.as_str();
        let deletes = review.operation == Operation::Delete && review.is("", "Namespace");
        if deletes && IMMORTAL.contains(&name) {
            return Err(Status::forbidden(&NAMESPACES, name, "this namespace may not be deleted"));
        }
        Ok(())
    }
}

fn terminating(resource: &GroupVersionResource, name: &str, namespace: &str) -> Status {
    let detail =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = Status::forbidden(resource, name, &detail);
    status.details.causes = vec![Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    }];
    status
}
