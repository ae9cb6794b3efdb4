//! `pods/exec` and `pods/attach` over WebSocket: the upgrade, and which streams are wanted.
//!
//! What the API knows is refused before the upgrade, as an ordinary Status; what only the node knows
//! afterwards, on the error channel, because kubectl takes a refused upgrade for a protocol that is not
//! spoken. Read next: [`super::channels`] (what is sent over the connection).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::node::StreamOptions;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::status::{Reason, Status};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{channels, container};
use crate::api::Api;
use crate::http::Carrier;
use crate::http::respond::{self, Answer};
use crate::request::Address;
use crate::request::query::Query;

/// What we speak, the best first. The v5 form can end standard input alone.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Largest message of a client; kubectl sends at most 32 KiB.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Answers an exec or attach.
pub(crate) async fn upgrade(
    api: &Api,
    address: &Address,
    action: &str,
    query: &Query,
    mut request: Request<Incoming>,
) -> Result<Answer, Status> {
    let place = container::find(api, address, query.text("container"))?;
    let options = options(query)?;
    let exec = action == "exec";
    let command: Vec<String> = query.all("command").filter(|_| exec).map(str::to_owned).collect();
    if exec && command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let gateway = Arc::clone(api.node_gateway()?);
    // The last thing to be refused: kubectl tries once more with another protocol, and shows that refusal.
    let protocol = protocol(request.headers())?;
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| STANDARD.decode(key).is_ok())
        .cloned()
        .ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let carrier = request.extensions().get::<Carrier>().cloned();
    let carrier = carrier.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let upgrade = hyper::upgrade::on(&mut request);
    let streams = async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!("upgrade to WebSocket: {error}"),
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let session = if command.is_empty() {
            gateway.attach(&place.node, &place.container, options).await.map(channels::of_attach)
        } else {
            gateway.exec(&place.node, &place.container, command, options).await
        };
        match session {
            Ok(session) => channels::run(socket, session).await,
            Err(status) => channels::refuse(socket, &status).await,
        }
    };
    carrier.put(streams.boxed());
    let mut answer = Response::new(respond::full(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.map_err(Status::internal)?);
    Ok(answer)
}

fn options(query: &Query) -> Result<StreamOptions, Status> {
    let options = StreamOptions {
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr") && !query.flag("tty"),
        tty: query.flag("tty"),
    };
    if options.stdin || options.stdout || options.stderr {
        Ok(options)
    } else {
        Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
    }
}

fn protocol(headers: &HeaderMap) -> Result<&'static str, Status> {
    let websocket = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !websocket {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    PROTOCOLS.into_iter().find(|own| offered.contains(own)).ok_or_else(|| {
        let text = format!("none of the subprotocols {offered:?} is served; these are: {PROTOCOLS:?}");
        Status::new(Reason::Forbidden, text)
    })
}
