//! The `channel.k8s.io` protocol: each message's first byte says which stream the rest belongs to.
//!
//! A slow client slows the command down and never fills our memory: every queue here is bounded.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use client::node::{Ended, Input, Output, Session, TerminalSize};
use futures::{Sink, SinkExt, Stream, StreamExt};
use model::status::{Cause, Reason, Status};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

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

/// Pause before the first message. kubectl up to 1.32 begins to read before it has made its streams, and
/// drops what comes for one that is not there yet: what a quick command says would be lost now and then.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// After the command has ended its streams may stay open (a process that it left behind holds them): one that
/// says nothing for this long is taken for ended.
const DRAIN_QUIET: Duration = Duration::from_millis(300);
/// What is left then is at most a pipe (64 KiB) and the queue; who cannot take it in this time is gone.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Carries a session's streams until its command has ended or the client is gone.
pub(super) async fn run<S>(socket: WebSocketStream<S>, session: Session)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (to_client, from_client) = socket.split();
    let (output, outgoing) = mpsc::channel::<Message>(CHUNKS_MAX);
    let over = CancellationToken::new();
    let mut readers = JoinSet::new();
    for (channel, stream) in [(STDOUT, session.stdout), (STDERR, session.stderr)] {
        if let Some(stream) = stream {
            readers.spawn(read(stream, channel, output.clone(), over.clone()));
        }
    }
    drop(output);
    let mut ended = session.ended;
    // Both directions go on side by side: a command that waits for us to take its output must not keep us
    // from hearing the client, nor the other way round.
    let mut sending = pin!(send(to_client, outgoing));
    let mut hearing = pin!(hear(from_client, session.stdin, session.resize));
    let (ended, sent) = tokio::select! {
        ended = &mut ended => (ended, None),
        sent = &mut sending => match sent {
            // Every stream has ended, the command has not.
            Some(to_client) => tokio::select! {
                ended = &mut ended => (ended, Some(to_client)),
                () = &mut hearing => return,
            },
            None => return,
        },
        () = &mut hearing => return,
    };
    // What the command wrote last is still on its way.
    over.cancel();
    let to_client = match sent {
        Some(to_client) => Some(to_client),
        None => tokio::select! {
            sent = &mut sending => sent,
            () = &mut hearing => return,
            () = tokio::time::sleep(DRAIN_MAX) => return,
        },
    };
    if let Some(to_client) = to_client {
        end(to_client, &status(&ended)).await;
    }
}

/// Says that there will be no session.
pub(super) async fn refuse<S>(socket: WebSocketStream<S>, why: &Status)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    end(socket, &why.to_value()).await;
}

async fn end<W>(mut to_client: W, status: &Value)
where
    W: Sink<Message> + Unpin,
{
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let last = async {
        to_client.send(message(ERROR, status.to_string().as_bytes())).await?;
        to_client.send(Message::Close(Some(close))).await?;
        to_client.close().await
    };
    // Whether the client hears it is its own matter.
    let _ = tokio::time::timeout(DRAIN_MAX, last).await;
}

/// Sends until every stream has ended; gives the connection back, or nothing if the client is gone.
async fn send<W>(mut to_client: W, mut outgoing: mpsc::Receiver<Message>) -> Option<W>
where
    W: Sink<Message> + Unpin,
{
    tokio::time::sleep(FIRST_PAUSE).await;
    while let Some(message) = outgoing.recv().await {
        to_client.send(message).await.ok()?;
    }
    Some(to_client)
}

/// Hears the client until it is gone.
async fn hear<R, E>(mut from_client: R, stdin: Option<Input>, resize: Option<mpsc::Sender<TerminalSize>>)
where
    R: Stream<Item = Result<Message, E>> + Unpin,
{
    let (queue, chunks) = mpsc::channel(CHUNKS_MAX);
    let mut queue = stdin.is_some().then_some(queue);
    let feeding = async {
        if let Some(stdin) = stdin {
            feed(stdin, chunks).await;
        }
        std::future::pending::<()>().await;
    };
    let taking = async {
        // Pings are answered by the protocol itself.
        while let Some(Ok(message)) = from_client.next().await {
            match message {
                Message::Binary(data) => take(&data, &mut queue, resize.as_ref()).await,
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = taking => {}
        () = feeding => {}
    }
}

/// The queue to a command's standard input; dropped, it ends it.
type InputQueue = mpsc::Sender<Bytes>;

async fn feed(mut stdin: Input, mut chunks: mpsc::Receiver<Bytes>) {
    while let Some(chunk) = chunks.recv().await {
        if stdin.write_all(&chunk).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
    let _ = stdin.shutdown().await;
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

async fn read(mut stream: Output, channel: u8, output: mpsc::Sender<Message>, over: CancellationToken) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let quiet = async {
            over.cancelled().await;
            tokio::time::sleep(DRAIN_QUIET).await;
        };
        let count = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => match read {
                Ok(count @ 1..) => count,
                Ok(_) | Err(_) => return,
            },
            () = quiet => return,
        };
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

/// An attach ends well when its container ends, whatever the container ended with: that is in the pod's
/// status, where clients look for it.
pub(super) fn of_attach(session: Session) -> Session {
    let Session { ended, .. } = session;
    let ended = Box::pin(async move {
        match ended.await {
            Ended::Exited(_) => Ended::Exited(0),
            Ended::Failed(reason) => Ended::Failed(reason),
        }
    });
    Session { ended, ..session }
}

/// What channel 3 says at the end.
fn status(ended: &Ended) -> Value {
    match ended {
        Ended::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Ended::Exited(code) => {
            let text = format!("command terminated with non-zero exit code: exit status {code}");
            let mut status = Status::internal("");
            status.message = text;
            status.details.causes = vec![Cause {
                reason: "ExitCode".to_owned(),
                message: code.to_string(),
                field: String::new(),
            }];
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
