//! One question of the gRPC health checking protocol (`grpc.health.v1.Health/Check`), over hyper's HTTP/2.
//!
//! Request and answer have one field each, so their protobuf is written and read here by hand; a gRPC
//! library would be more code than the rest of the probes.
//!
//! Read next: [`crate::probe`], the only caller.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// Most bytes read of an answer, which is 7 bytes long when all is well.
const ANSWER_BYTES_MAX: usize = 4096;
/// The status code with which a server says that it does not know the method.
const UNIMPLEMENTED: &str = "12";

/// Asks whether a service (or, without a name, the server) is serving.
pub(crate) async fn check<S>(stream: S, authority: &str, service: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
    let request = http::Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(format!("error: health rpc probe failed: HTTP status {}", head.status.as_u16()));
        }
        let whole =
            Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        // A server that refuses at once sends its status among the headers and no body.
        let said = |name: &str| {
            let trailer = whole.trailers().and_then(|trailers| trailers.get(name));
            let value = trailer.or_else(|| head.headers.get(name));
            value.and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let message = said("grpc-message").unwrap_or_default();
        match said("grpc-status").as_deref() {
            Some("0") => {}
            Some(UNIMPLEMENTED) => {
                return Err(format!(
                    "error: this server does not implement the grpc health protocol \
                     (grpc.health.v1.Health): {message}"
                ));
            }
            code => {
                let code = code.unwrap_or("none").to_owned();
                return Err(format!("error: health rpc probe failed: code = {code} desc = {message}"));
            }
        }
        verdict(&whole.to_bytes())
    };
    tokio::select! {
        result = answer => result,
        // The connection lives only as long as this probe.
        ended = connection => {
            Err(ended.err().map_or_else(|| "the connection was closed".to_owned(), |error| error.to_string()))
        }
    }
}

/// The framed request: not compressed, its length, and field 1 (`service`).
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a service name from the API is short"));
    frame.extend_from_slice(&message);
    frame.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        buffer.put_u8(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    buffer.put_u8(u8::try_from(number).expect("seven bits"));
}

/// Reads field 1 (`status`) of the framed answer.
fn verdict(frame: &[u8]) -> Result<(), String> {
    let odd = || "error: health rpc probe failed: the answer cannot be read".to_owned();
    let (head, message) = frame.split_at_checked(5).ok_or_else(odd)?;
    if head[0] != 0 {
        return Err(odd());
    }
    let name = match message {
        // A field that is left out has its zero value.
        [] | [0x08, 0, ..] => "UNKNOWN",
        [0x08, 1, ..] => return Ok(()),
        [0x08, 2, ..] => "NOT_SERVING",
        [0x08, 3, ..] => "SERVICE_UNKNOWN",
        _ => return Err(odd()),
    };
    Err(format!("service unhealthy (responded with {name:?})"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;

    use super::*;

    #[test]
    fn the_question_is_framed_as_grpc_wants_it() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(question(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
    }

    /// A server that answers every question with this status code and health.
    async fn ask(code: &'static str, health: u8, service: &str) -> Result<(), String> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let answer = move |request: http::Request<Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()["te"], "trailers");
            let question = request.into_body().collect().await.expect("read").to_bytes();
            assert_eq!(question[0], 0);
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", code.parse().expect("valid"));
            let frames = [
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, health]))),
                Ok(Frame::trailers(trailers)),
            ];
            let body = StreamBody::new(futures::stream::iter(frames));
            Ok::<_, Infallible>(
                http::Response::builder()
                    .header("content-type", "application/grpc")
                    .body(body)
                    .expect("valid"),
            )
        };
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(theirs), service_fn(answer));
        tokio::select! {
            said = check(ours, "192.0.2.1:50051", service) => said,
            _ = server => panic!("the server ended first"),
        }
    }

    #[tokio::test]
    async fn only_a_serving_service_is_healthy() {
        assert_eq!(ask("0", 1, "").await, Ok(()));
        let unhealthy = ask("0", 2, "db").await.expect_err("not serving");
        assert_eq!(unhealthy, "service unhealthy (responded with \"NOT_SERVING\")");
        let missing = ask(UNIMPLEMENTED, 0, "").await.expect_err("not implemented");
        assert!(missing.contains("does not implement the grpc health protocol"), "{missing}");
        assert!(ask("5", 0, "x").await.expect_err("no such service").contains("code = 5"));
    }
}
