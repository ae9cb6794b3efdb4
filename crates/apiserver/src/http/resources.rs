//! A request for a resource: body and options in, through the pipeline, and the answer in the form asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::PatchKind;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use model::encoded::Encoded;
use model::status::{Reason, Status};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::negotiate::{self, Include, Shape};
use super::respond::{self, Answer};
use super::route::Asked;
use super::{Carrier, watch};
use crate::api::Api;
use crate::codec;
use crate::kind::{Kind, Subresource};
use crate::pipeline::delete::{self, Deleted};
use crate::pipeline::modify::Part;
use crate::request::{Address, FieldValidation, Input};
use crate::{subresources, table};

/// Largest body of a request; upstream's limit.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// A body must be there within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers a request for a resource.
pub(super) async fn answer(
    api: &Arc<Api>,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let path = &asked.path;
    let kind = api.kind(&path.gvr()).ok_or_else(Status::no_such_path)?;
    if !kind.namespaced && !path.namespace.is_empty() {
        return Err(Status::no_such_path());
    }
    if kind.namespaced && path.namespace.is_empty() && !matches!(asked.verb, "list" | "watch") {
        return Err(Status::method_not_allowed());
    }
    if kind.strategy.is_review() && (asked.verb != "create" || !path.name.is_empty()) {
        return Err(Status::method_not_allowed());
    }
    let address = Address::new(kind, &path.namespace, &path.name);
    let part = match path.subresource.as_str() {
        "" => Part::Main,
        "status" if kind.subresources.contains(&Subresource::Status) => Part::Status,
        "finalize" if kind.subresources.contains(&Subresource::Finalize) => Part::Finalize,
        _ => return subresource(api, asked, &address, request).await,
    };
    let closing =
        request.extensions().get::<Carrier>().map(|carrier| carrier.closing.clone()).unwrap_or_default();
    // An answer in no form that the client takes must be refused before anything is written.
    negotiate::shape(accept(asked))?;
    include(asked)?;
    match asked.verb {
        "get" => {
            let object = api.get(&address, asked.query.get()?)?;
            one(api, asked, kind, 200, &object)
        }
        "list" => list(api, asked, &address),
        "watch" => start_watch(api, asked, &address, closing),
        "create" if part == Part::Main && path.name.is_empty() => {
            let options = asked.query.write("CreateOptions")?;
            let input = input(asked, request, options.field_validation).await?;
            let object = api.create(&asked.cx, &address, input, &options).await?;
            one(api, asked, kind, 201, &object)
        }
        "update" => {
            let options = asked.query.write("UpdateOptions")?;
            let input = input(asked, request, options.field_validation).await?;
            let written = api.update(&asked.cx, &address, part, input, &options).await?;
            one(api, asked, kind, if written.created { 201 } else { 200 }, &written.object)
        }
        "patch" => {
            let options = asked.query.write("PatchOptions")?;
            let patch_kind = patch_kind(asked)?;
            let patch = patch_body(request).await?;
            let written = api.patch(&asked.cx, &address, part, patch_kind, &patch, &options).await?;
            one(api, asked, kind, 200, &written.object)
        }
        "delete" if part == Part::Main => remove(api, asked, &address, request).await,
        "deletecollection" if part == Part::Main => {
            let deletion = deletion(asked, request).await?;
            let query = asked.query.list()?;
            let listed = api.delete_collection(&asked.cx, &address, &query, &deletion).await?;
            let metadata = json!({"resourceVersion": listed.revision.to_string()});
            collection(api, asked, kind, &listed.objects, metadata)
        }
        _ => Err(Status::method_not_allowed()),
    }
}

async fn subresource(
    api: &Arc<Api>,
    asked: &Asked,
    address: &Address,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let name = asked.path.subresource.as_str();
    let has = |one: Subresource| address.kind.subresources.contains(&one);
    match name {
        "scale" if has(Subresource::Scale) => {
            negotiate::shape(accept(asked))?;
            let scale = match asked.verb {
                "get" => subresources::scale::get(api, address)?,
                "update" => {
                    let options = asked.query.write("UpdateOptions")?;
                    let input = input(asked, request, options.field_validation).await?;
                    subresources::scale::put(api, &asked.cx, address, input, &options).await?
                }
                "patch" => {
                    let options = asked.query.write("PatchOptions")?;
                    let patch_kind = patch_kind(asked)?;
                    let patch = patch_body(request).await?;
                    subresources::scale::patch(api, &asked.cx, address, patch_kind, &patch, &options).await?
                }
                _ => return Err(Status::method_not_allowed()),
            };
            Ok(respond::bytes(200, "application/json", scale.bytes().clone()))
        }
        "binding" | "eviction" if has(Subresource::Binding) || has(Subresource::Eviction) => {
            if asked.method != Method::POST {
                return Err(Status::method_not_allowed());
            }
            let options = asked.query.write("CreateOptions")?;
            let input = input(asked, request, options.field_validation).await?;
            subresources::post(api, &asked.cx, address, name, input, &options).await?;
            let done = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            });
            Ok(respond::json(201, &done))
        }
        "log" if has(Subresource::Log) => {
            let closing = request.extensions().get::<Carrier>().map(|carrier| carrier.closing.clone());
            subresources::log::get(api, address, &asked.query, closing.unwrap_or_default()).await
        }
        "exec" | "attach" if has(Subresource::Exec) => {
            subresources::exec::upgrade(api, address, name, &asked.query, request).await
        }
        _ => Err(Status::no_such_path()),
    }
}

fn accept(asked: &Asked) -> &str {
    asked.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn include(asked: &Asked) -> Result<Include, Status> {
    match asked.query.text("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

fn one(api: &Api, asked: &Asked, kind: &Kind, code: u16, object: &Arc<Encoded>) -> Result<Answer, Status> {
    match negotiate::shape(accept(asked))? {
        Shape::Plain => Ok(respond::bytes(code, "application/json", object.bytes().clone())),
        Shape::Metadata => Ok(respond::json(code, &table::metadata_of(&codec::value(object)?))),
        Shape::Table => {
            let metadata = json!({"resourceVersion": object.revision().to_string()});
            let objects = std::slice::from_ref(object);
            let table = table::table(kind, objects, metadata, include(asked)?, true, api.now())?;
            Ok(respond::json(code, &table))
        }
    }
}

fn list(api: &Arc<Api>, asked: &Asked, address: &Address) -> Result<Answer, Status> {
    let listed = api.list(address, &asked.query.list()?)?;
    let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
    if !listed.continue_token.is_empty() {
        metadata["continue"] = listed.continue_token.into();
        if let Some(remaining) = listed.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    collection(api, asked, address.kind, &listed.objects, metadata)
}

fn collection(
    api: &Api,
    asked: &Asked,
    kind: &Kind,
    objects: &[Arc<Encoded>],
    metadata: Value,
) -> Result<Answer, Status> {
    let body = match negotiate::shape(accept(asked))? {
        Shape::Plain => joined(kind, objects, &metadata),
        Shape::Metadata => {
            let mut items = Vec::with_capacity(objects.len());
            for object in objects {
                items.push(table::metadata_of(&codec::value(object)?));
            }
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata, "items": items,
            });
            Bytes::from(list.to_string())
        }
        Shape::Table => {
            let table = table::table(kind, objects, metadata, include(asked)?, true, api.now())?;
            Bytes::from(table.to_string())
        }
    };
    Ok(respond::compressed(&asked.headers, 200, "application/json", body))
}

/// A list put together from stored bytes, none of which is parsed.
fn joined(kind: &Kind, objects: &[Arc<Encoded>], metadata: &Value) -> Bytes {
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        kind.gvk.kind,
        kind.gvk.api_version()
    );
    let size: usize = objects.iter().map(|object| object.bytes().len() + 1).sum();
    let mut body = Vec::with_capacity(head.len() + size + 2);
    body.extend_from_slice(head.as_bytes());
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(object.bytes());
    }
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}

fn start_watch(
    api: &Arc<Api>,
    asked: &Asked,
    address: &Address,
    closing: CancellationToken,
) -> Result<Answer, Status> {
    let mut query = asked.query.watch()?;
    let mut collection = address.clone();
    if !collection.name.is_empty() {
        query.field_selector = format!("metadata.name={}", collection.name);
        collection.name.clear();
    }
    let form = (negotiate::shape(accept(asked))?, include(asked)?);
    watch::answer(api, &collection, &query, form, closing)
}

async fn remove(
    api: &Api,
    asked: &Asked,
    address: &Address,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let deletion = deletion(asked, request).await?;
    let foreground = deletion.options.propagation == Some(client::Propagation::Foreground);
    match api.delete(&asked.cx, address, &deletion).await? {
        Deleted::Pending(object) => {
            one(api, asked, address.kind, if foreground { 202 } else { 200 }, &object)
        }
        Deleted::Gone(last) if address.kind.deleted_gracefully => one(api, asked, address.kind, 200, &last),
        Deleted::Gone(last) => Ok(respond::json(200, &delete::success(address, &last)?)),
    }
}

async fn deletion(
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<crate::request::DeleteRequest, Status> {
    let content_type = content_type(asked).map(str::to_owned);
    let bytes = body(request).await?;
    let mut deletion = if bytes.is_empty() {
        crate::request::DeleteRequest::default()
    } else {
        let decoded = model::body::decode(content_type.as_deref(), &bytes, false)?;
        delete::options(&decoded.value)?
    };
    asked.query.delete(&mut deletion)?;
    Ok(deletion)
}

fn content_type(asked: &Asked) -> Option<&str> {
    asked.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

async fn input(
    asked: &Asked,
    request: Request<Incoming>,
    validation: FieldValidation,
) -> Result<Input, Status> {
    let bytes = body(request).await?;
    let strict = validation != FieldValidation::Ignore;
    let decoded = model::body::decode(content_type(asked), &bytes, strict)?;
    Ok(Input { value: decoded.value, duplicate_fields: decoded.duplicate_fields })
}

fn patch_kind(asked: &Asked) -> Result<PatchKind, Status> {
    let media = content_type(asked).unwrap_or_default();
    match media.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::StrategicMerge),
        "application/apply-patch+yaml" => Err(Status::new(
            Reason::UnsupportedMediaType,
            "server-side apply is not supported yet: use client-side apply (kubectl apply without \
             --server-side)",
        )),
        other => Err(Status::new(
            Reason::UnsupportedMediaType,
            format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, \
                 application/strategic-merge-patch+json (got {other:?})"
            ),
        )),
    }
}

async fn patch_body(request: Request<Incoming>) -> Result<Value, Status> {
    let bytes = body(request).await?;
    Ok(model::body::decode(Some("application/json"), &bytes, false)?.value)
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Status> {
    let too_large = || {
        let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
        Status::new(Reason::RequestEntityTooLarge, text)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    if announced.is_some_and(|bytes: usize| bytes > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let collected = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Status::bad_request(format!("read the body: {error}"))),
        Err(_) => Err(Status::new(Reason::Timeout, "the body did not arrive in time")),
    }
}
