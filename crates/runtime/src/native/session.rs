//! A connection to a running command, as the agent's callers see it.
//!
//! Frames on one side, separate streams on the other. Dropping a session's `ended` lets go of the command:
//! an exec is killed then, an attached container is left alone. Buffers are bounded; whoever does not read
//! stops the command's output.
//!
//! Read next: `frame.rs`, `shim/exec.rs` and `shim/supervise.rs` (the other end).

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::frame::{self, Parsed};
use crate::api::{RuntimeError, Session, Streams};

/// Bytes between the frames and each of the caller's streams; two of the largest frames.
const STREAM_BYTES: usize = 2 * frame::PAYLOAD_BYTES_MAX;
/// Sizes of the terminal that may wait to be told; only the last matters.
const RESIZES: usize = 4;
/// Bytes of standard input in one frame.
const STDIN_BYTES: usize = 16 * 1024;

/// How the other end finished.
#[derive(Debug)]
pub(crate) enum Finish {
    /// With this exit code.
    Ended(i32),
    /// Without having started.
    StartFailed(String),
    /// It went away without a word.
    Lost,
}

/// Connects a pair of frame streams to a caller's session.
pub(crate) fn open<R, W>(reader: R, writer: W, streams: Streams, tasks: &TaskTracker) -> (Session, Ended)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let over = CancellationToken::new();
    let (finish, finished) = oneshot::channel();
    let pair = |wanted: bool| if wanted { Some(duplex(STREAM_BYTES)) } else { None };
    let (stdin, stdin_source) = pair(streams.stdin).unzip();
    let (stdout, stdout_sink) = pair(streams.stdout).unzip();
    let (stderr, stderr_sink) = pair(streams.stderr && !streams.tty).unzip();
    let (resize, sizes) = mpsc::channel(RESIZES);
    tasks.spawn(write(writer, stdin_source, sizes, over.clone()));
    let guard = over.clone().drop_guard();
    let cancelled = over.clone();
    tasks.spawn(async move {
        let _stop_writing = over.drop_guard();
        let result = tokio::select! {
            result = read(reader, [stdout_sink, stderr_sink]) => result,
            () = cancelled.cancelled() => Finish::Lost,
        };
        let _ = finish.send(result);
    });
    let session = Session {
        stdin: stdin.map(|stream| Box::pin(stream) as Pin<Box<dyn AsyncWrite + Send>>),
        stdout: stdout.map(|stream| Box::pin(stream) as Pin<Box<dyn AsyncRead + Send>>),
        stderr: stderr.map(|stream| Box::pin(stream) as Pin<Box<dyn AsyncRead + Send>>),
        resize: streams.tty.then_some(resize),
        ended: Box::pin(async { Err(RuntimeError::NotFound { what: "the session's end".to_owned() }) }),
    };
    (session, Ended { finished, _guard: guard })
}

/// Waits for the end; letting go of it lets go of the command.
pub(crate) struct Ended {
    finished: oneshot::Receiver<Finish>,
    _guard: DropGuard,
}

impl Ended {
    pub(crate) async fn wait(self) -> Finish {
        self.finished.await.unwrap_or(Finish::Lost)
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut stdin: Option<DuplexStream>,
    mut sizes: mpsc::Receiver<(u16, u16)>,
    over: CancellationToken,
) {
    let mut buffer = vec![0; STDIN_BYTES];
    let mut sizes_open = true;
    loop {
        let mut bytes = Vec::new();
        tokio::select! {
            () = over.cancelled() => return,
            size = sizes.recv(), if sizes_open => match size {
                None => sizes_open = false,
                Some((columns, rows)) => {
                    let ([a, b], [c, d]) = (columns.to_le_bytes(), rows.to_le_bytes());
                    frame::append(&mut bytes, frame::RESIZE, &[a, b, c, d]);
                }
            },
            read = read_some(&mut stdin, &mut buffer) => match read {
                0 => {
                    stdin = None;
                    frame::append(&mut bytes, frame::STDIN_CLOSE, &[]);
                }
                count => frame::append(&mut bytes, frame::STDIN, &buffer[..count]),
            },
        }
        tokio::select! {
            () = over.cancelled() => return,
            written = writer.write_all(&bytes) => if written.is_err() { return },
        }
    }
}

/// Reads, or waits for ever when there is nothing to read from.
async fn read_some(stdin: &mut Option<DuplexStream>, buffer: &mut [u8]) -> usize {
    match stdin {
        Some(stdin) => stdin.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn read<R: AsyncRead + Unpin>(mut reader: R, mut sinks: [Option<DuplexStream>; 2]) -> Finish {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        let mut used = 0;
        loop {
            let (kind, payload) = match frame::parse(&bytes[used..]) {
                Parsed::Incomplete => break,
                Parsed::TooLong => return Finish::Lost,
                Parsed::Frame { kind, payload, taken } => {
                    used += taken;
                    (kind, payload)
                }
            };
            let sink = match kind {
                frame::STDOUT => &mut sinks[0],
                frame::STDERR => &mut sinks[1],
                frame::START_FAILED => {
                    return Finish::StartFailed(String::from_utf8_lossy(payload).into_owned());
                }
                frame::ENDED => {
                    return payload
                        .try_into()
                        .map_or(Finish::Lost, |code| Finish::Ended(i32::from_le_bytes(code)));
                }
                _ => continue,
            };
            if let Some(open) = sink
                && open.write_all(payload).await.is_err()
            {
                *sink = None;
            }
        }
        bytes.drain(..used);
        match reader.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Finish::Lost,
            Ok(_) => {}
        }
    }
}
