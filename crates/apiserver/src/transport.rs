//! The way to the API inside its own process.
//!
//! Objects are handed out as the store's own `Arc<Encoded>`, unparsed, so that every view in the process
//! shares what it decodes. A call takes the same path as one over HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use client::transport::{Body, Call, ListOptions, PatchKind, Reply, Target, Transport, Verb, Watch};
use futures::StreamExt;
use model::encoded::Revision;
use model::status::Status;
use serde_json::Value;

use crate::api::Api;
use crate::pipeline::delete::Deleted;
use crate::pipeline::modify::Part;
use crate::request::{
    Address, Context, DeleteRequest, FieldValidation, Input, ListQuery, User, WatchQuery, WriteOptions,
};
use crate::subresources;

/// The transport of [`Api::transport`].
pub(crate) struct InProcess {
    api: Arc<Api>,
}

impl InProcess {
    pub(crate) fn new(api: Arc<Api>) -> InProcess {
        InProcess { api }
    }

    fn address(&self, target: &Target) -> Result<Address, Status> {
        let kind = self.api.kind(&target.resource).ok_or_else(Status::no_such_path)?;
        if !kind.has_subresource(target.subresource) {
            return Err(Status::no_such_path());
        }
        Ok(Address::new(kind, &target.namespace, &target.name))
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let address = self.address(&call.target)?;
        let cx = Context::new(User::component(call.caller));
        let options = WriteOptions {
            field_validation: FieldValidation::Ignore,
            field_manager: call.caller.to_owned(),
            ..WriteOptions::default()
        };
        let api = &self.api;
        let (label_selector, field_selector) = (call.list.label_selector, call.list.field_selector);
        let query = ListQuery { label_selector, field_selector, ..ListQuery::default() };
        match (call.verb, call.target.subresource, call.body) {
            (Verb::Get, "", _) => api.get(&address, None).map(Reply::Object),
            (Verb::Get, "status", _) => api.get(&address, None).map(Reply::Object),
            (Verb::Get, "scale", _) => subresources::scale::get(api, &address).map(Reply::Object),
            (Verb::List, "", _) => {
                let listed = api.list(&address, &query)?;
                Ok(Reply::List(listed.objects, listed.revision))
            }
            (Verb::Create, "", Body::Object(value)) => {
                api.create(&cx, &address, Input::from(value), &options).await.map(Reply::Object)
            }
            (Verb::Create, name, Body::Object(value)) => {
                subresources::post(api, &cx, &address, name, Input::from(value), &options).await?;
                Ok(Reply::Done)
            }
            (Verb::Update, name, Body::Object(value)) => {
                let input = Input::from(value);
                if name == "scale" {
                    return subresources::scale::put(api, &cx, &address, input, &options)
                        .await
                        .map(Reply::Object);
                }
                let written = api.update(&cx, &address, part(name)?, input, &options).await?;
                Ok(Reply::Object(written.object))
            }
            (Verb::Patch, name, Body::Patch(kind, patch)) => {
                self.patch(&cx, &address, name, kind, &patch, &options).await
            }
            (Verb::Delete, "", body) => {
                let request = DeleteRequest { options: delete_options(body), dry_run: false };
                match api.delete(&cx, &address, &request).await? {
                    Deleted::Gone(_) => Ok(Reply::Done),
                    Deleted::Pending(object) => Ok(Reply::Object(object)),
                }
            }
            (Verb::DeleteCollection, "", body) => {
                let request = DeleteRequest { options: delete_options(body), dry_run: false };
                api.delete_collection(&cx, &address, &query, &request).await?;
                Ok(Reply::Done)
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn watch(
        &self,
        target: Target,
        options: ListOptions,
        after: Revision,
        _caller: &'static str,
    ) -> Result<Watch, Status> {
        let address = self.address(&target)?;
        let query = WatchQuery {
            label_selector: options.label_selector,
            field_selector: options.field_selector,
            after: Some(after),
            ..WatchQuery::default()
        };
        Ok(self.api.watch_live(&address, &query, after)?.boxed())
    }
}

impl InProcess {
    async fn patch(
        &self,
        cx: &Context,
        address: &Address,
        subresource: &str,
        kind: PatchKind,
        patch: &Value,
        options: &WriteOptions,
    ) -> Result<Reply, Status> {
        if subresource == "scale" {
            return subresources::scale::patch(&self.api, cx, address, kind, patch, options)
                .await
                .map(Reply::Object);
        }
        let part = part(subresource)?;
        let written = self.api.patch(cx, address, part, kind, patch, options).await?;
        Ok(Reply::Object(written.object))
    }
}

fn part(subresource: &str) -> Result<Part, Status> {
    match subresource {
        "" => Ok(Part::Main),
        "status" => Ok(Part::Status),
        "finalize" => Ok(Part::Finalize),
        _ => Err(Status::method_not_allowed()),
    }
}

fn delete_options(body: Body) -> client::DeleteOptions {
    match body {
        Body::Delete(options) => options,
        Body::Empty | Body::Object(_) | Body::Patch(..) => client::DeleteOptions::default(),
    }
}
