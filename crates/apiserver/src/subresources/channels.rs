//! The `channel.k8s.io` protocol: each message's first byte says which stream the rest belongs to.
//!
//! A slow client slows the command down and never fills our memory: every queue here is bounded.

use bytes::Bytes;
use client::node::{Ended, Input, Output, Session, TerminalSize};
use futures::{SinkExt, StreamExt};
use model::status::{Cause, Reason, Status};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// In v5: the stream named by the next byte has ended.
const CLOSE: u8 = 255;
/// Bytes read from the container at a time; with the queue below at most 512 KiB a session.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks that wait for a slow client, or for a slow command.
const CHUNKS_MAX: usize = 16;

/// Carries a session's streams until its command has ended or the client is gone.
pub(super) async fn run<S>(socket: WebSocketStream<S>, session: Session)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut to_client, mut from_client) = socket.split();
    let (output, mut outgoing) = mpsc::channel::<Message>(CHUNKS_MAX);
    let mut readers = JoinSet::new();
    for (channel, stream) in [(STDOUT, session.stdout), (STDERR, session.stderr)] {
        if let Some(stream) = stream {
            readers.spawn(read(stream, channel, output.clone()));
        }
    }
    let mut input = session.stdin.map(spawn_input);
    let mut ended = session.ended;
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break Some(ended),
            Some(message) = outgoing.recv() => {
                if to_client.send(message).await.is_err() {
                    break None;
                }
            }
            message = from_client.next() => match message {
                Some(Ok(Message::Binary(data))) => {
                    take(&data, &mut input, session.resize.as_ref()).await;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break None,
                // Pings are answered by the protocol itself, with the next flush.
                Some(Ok(_)) => {
                    let _ = to_client.flush().await;
                }
            },
        }
    };
    let Some(ended) = ended else { return };
    // What the command wrote last is still on its way.
    drop(output);
    while let Some(message) = outgoing.recv().await {
        if to_client.send(message).await.is_err() {
            return;
        }
    }
    while readers.join_next().await.is_some() {}
    let _ = to_client.send(message(ERROR, status(&ended).to_string().as_bytes())).await;
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = to_client.send(Message::Close(Some(close))).await;
    let _ = to_client.close().await;
}

/// The queue to a command's standard input; `None` sent ends it.
type InputQueue = mpsc::Sender<Bytes>;

fn spawn_input(mut stdin: Input) -> InputQueue {
    let (queue, mut chunks) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            if stdin.write_all(&chunk).await.is_err() || stdin.flush().await.is_err() {
                return;
            }
        }
        let _ = stdin.shutdown().await;
    });
    queue
}

async fn take(data: &Bytes, input: &mut Option<InputQueue>, resize: Option<&mpsc::Sender<TerminalSize>>) {
    match data.first() {
        Some(&STDIN) if data.len() > 1 => {
            if let Some(queue) = input
                && queue.send(data.slice(1..)).await.is_err()
            {
                *input = None;
            }
        }
        Some(&CLOSE) if data.get(1) == Some(&STDIN) => *input = None,
        Some(&RESIZE) => {
            if let (Some(resize), Some(size)) = (resize, size(&data[1..])) {
                let _ = resize.try_send(size);
            }
        }
        _ => {}
    }
}

fn size(text: &[u8]) -> Option<TerminalSize> {
    let size: Value = serde_json::from_slice(text).ok()?;
    let field = |upper: &str, lower: &str| {
        let number = size.get(upper).or_else(|| size.get(lower))?.as_u64()?;
        u16::try_from(number).ok()
    };
    Some(TerminalSize { columns: field("Width", "width")?, rows: field("Height", "height")? })
}

async fn read(mut stream: Output, channel: u8, output: mpsc::Sender<Message>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if output.send(message(channel, &buffer[..count])).await.is_err() {
            return;
        }
    }
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// What channel 3 says at the end.
fn status(ended: &Ended) -> Value {
    match ended {
        Ended::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Ended::Exited(code) => {
            let text = format!("command terminated with non-zero exit code: exit status {code}");
            let mut status = Status::internal("");
            status.message = text;
            status.details.causes =
                vec![Cause { reason: "ExitCode".to_owned(), message: code.to_string(), field: String::new() }];
            let mut value = status.to_value();
            value["reason"] = "NonZeroExitCode".into();
            value
        }
        Ended::Failed(why) => Status::new(Reason::InternalError, why.clone()).to_value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_said_as_clients_read_it() {
        let value = status(&Ended::Exited(3));
        assert_eq!(value["reason"], "NonZeroExitCode");
        assert_eq!(value["details"]["causes"][0]["reason"], "ExitCode");
        assert_eq!(value["details"]["causes"][0]["message"], "3");
        assert_eq!(status(&Ended::Exited(0))["status"], "Success");
    }

    #[test]
    fn a_terminal_size_is_read() {
        let found = size(br#"{"Width":80,"Height":24}"#);
        assert_eq!(found, Some(TerminalSize { columns: 80, rows: 24 }));
        assert_eq!(size(b"nonsense"), None);
    }
}
