//! `pods/log`: the node's bytes, passed on as they come.

use bytes::Bytes;
use client::node::LogOptions;
use futures::StreamExt;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::SignedDuration;
use model::field::{Error, Path};
use model::resource::GroupVersionKind;
use model::status::Status;
use tokio_util::sync::CancellationToken;

use super::container;
use crate::api::Api;
use crate::http::respond::Answer;
use crate::request::Address;
use crate::request::query::Query;

const LOG_OPTIONS: GroupVersionKind = GroupVersionKind::constant("", "v1", "PodLogOptions");

/// Answers `GET …/log`.
pub(crate) async fn get(
    api: &Api,
    address: &Address,
    query: &Query,
    closing: CancellationToken,
) -> Result<Answer, Status> {
    let options = options(api, address, query)?;
    let place = container::find(api, address, query.text("container"))?;
    let stream = api.node_gateway()?.logs(&place.node, &place.container, options).await?;
    let frames = stream.take_until(closing.cancelled_owned()).map(|chunk| match chunk {
        Ok(bytes) => Ok(Frame::data(bytes)),
        // The head is sent already: the refusal becomes the log's last line.
        Err(status) => Ok::<_, std::io::Error>(Frame::data(Bytes::from(format!("{status}\n")))),
    });
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(answer)
}

fn options(api: &Api, address: &Address, query: &Query) -> Result<LogOptions, Status> {
    let invalid = |errors: Vec<Error>| Err(Status::invalid(&LOG_OPTIONS, &address.name, &errors));
    let positive = |name: &str, least: i64| -> Result<Option<i64>, Status> {
        match query.number(name)? {
            Some(number) if number < least => {
                let detail = format!("must be greater than or equal to {least}");
                invalid(vec![Error::invalid(&Path::new(name), number, detail)]).map(|()| None)
            }
            other => Ok(other),
        }
    };
    let since_seconds = positive("sinceSeconds", 1)?;
    let since_time = match query.text("sinceTime") {
        "" => None,
        text => {
            Some(text.parse().map_err(|_| Status::bad_request(format!("sinceTime {text:?} is no time")))?)
        }
    };
    if since_seconds.is_some() && since_time.is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        invalid(vec![Error::forbidden(&Path::new(""), detail)])?;
    }
    let since = match since_seconds {
        Some(seconds) => api.now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        None => since_time,
    };
    Ok(LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since,
        timestamps: query.flag("timestamps"),
        tail_lines: positive("tailLines", 0)?.map(i64::unsigned_abs),
        limit_bytes: positive("limitBytes", 1)?.map(i64::unsigned_abs),
    })
}
