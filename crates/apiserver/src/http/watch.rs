//! A watch as a chunked stream of JSON, one event a line.

use std::sync::Arc;

use bytes::Bytes;
use client::transport::{WatchEvent, WatchEventKind};
use futures::StreamExt;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use model::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::frames::Form;
use super::negotiate::{Include, Shape};
use super::respond::Answer;
use crate::api::Api;
use crate::codec;
use crate::kind::Kind;
use crate::request::{Address, WatchQuery};
use crate::table;

/// Begins a watch. What goes wrong from the start on is an event too, as clients expect it.
pub(super) fn answer(
    api: &Arc<Api>,
    collection: &Address,
    query: &WatchQuery,
    (shape, include): (Shape, Include),
    closing: CancellationToken,
) -> Result<Answer, Status> {
    let kind = collection.kind;
    let events = match api.watch(collection, query) {
        Ok(events) => events.boxed(),
        Err(status) if status.is_expired() => futures::stream::iter([Err(status)]).boxed(),
        Err(status) => return Err(status),
    };
    let counted = Counted::new(Arc::clone(api));
    let mut first = true;
    let lines = events.take_until(closing.cancelled_owned()).map(move |event| {
        let api = &counted.0;
        let columns = std::mem::take(&mut first);
        let line = event.and_then(|event| line(api, kind, &event, shape, include, columns));
        let line = line.unwrap_or_else(|status| {
            Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": status.to_value()})))
        });
        Ok::<_, std::io::Error>(Frame::data(line))
    });
    let mut answer = Response::new(StreamBody::new(lines).boxed_unsync());
    let media = match shape {
        Shape::Plain => "application/json",
        Shape::Table => "application/json;as=Table;v=v1;g=meta.k8s.io",
        Shape::Metadata => "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(answer)
}

fn line(
    api: &Api,
    kind: &'static Kind,
    event: &WatchEvent,
    shape: Shape,
    include: Include,
    columns: bool,
) -> Result<Bytes, Status> {
    let name = match event.kind {
        WatchEventKind::Added => "ADDED",
        WatchEventKind::Modified => "MODIFIED",
        WatchEventKind::Deleted => "DELETED",
        WatchEventKind::Bookmark => "BOOKMARK",
    };
    let framed = |object: &[u8]| {
        let mut line = Vec::with_capacity(object.len() + 40);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        Bytes::from(line)
    };
    let object = &event.object;
    let text = |value: Value| framed(value.to_string().as_bytes());
    match shape {
        Shape::Plain => api.frames.get(object, event.kind, Form::Object, || Ok(framed(object.bytes()))),
        Shape::Metadata if event.kind != WatchEventKind::Bookmark => {
            api.frames.get(object, event.kind, Form::Metadata, || {
                Ok(text(table::metadata_of(&codec::value(object)?)))
            })
        }
        Shape::Metadata => Ok(text(table::metadata_of(&codec::value(object)?))),
        Shape::Table => {
            let form = Form::Table { object: include, columns };
            api.frames.get(object, event.kind, form, || {
                let metadata = json!({"resourceVersion": object.revision().to_string()});
                let rows = std::slice::from_ref(object);
                let rows = if event.kind == WatchEventKind::Bookmark { &[] } else { rows };
                let table = table::table(kind, rows, metadata, include, columns, api.now())?;
                Ok(text(table))
            })
        }
    }
}

/// Counts a watcher as long as its stream lives.
struct Counted(Arc<Api>);

impl Counted {
    fn new(api: Arc<Api>) -> Counted {
        api.metrics.watchers.inc();
        Counted(api)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.watchers.dec();
    }
}
