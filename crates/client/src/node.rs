//! What the API server asks of a node: logs, exec and attach.
//!
//! The API server finds the pod's node and hands the request on through a [`NodeGateway`]; in one process
//! that is the agent itself. A gateway must check nothing about access: that was done before.

use std::pin::Pin;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::status::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Bytes from a container.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;
/// Bytes to a container. Shutting it down is the end of its standard input.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Which container of which pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container's name.
    pub container: String,
}

/// Which part of a log, as the query of `GET …/log` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as the log grows, until the container is gone.
    pub follow: bool,
    /// The log of the container before the last restart.
    pub previous: bool,
    /// Only what is younger than this.
    pub since: Option<jiff::Timestamp>,
    /// Begin each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// What an exec or attach wants connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Connect standard input.
    pub stdin: bool,
    /// Connect standard output.
    pub stdout: bool,
    /// Connect standard error; must be false with `tty`.
    pub stderr: bool,
    /// Run it on a terminal.
    pub tty: bool,
}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It ended by itself with this code, 0 included; a signal is 128 plus its number.
    Exited(i32),
    /// It could not be started or was lost: the reason.
    Failed(String),
}

/// A running exec or attach.
pub struct Session {
    /// Its standard input, where asked for.
    pub stdin: Option<Input>,
    /// Its standard output, where asked for.
    pub stdout: Option<Output>,
    /// Its standard error, where asked for.
    pub stderr: Option<Output>,
    /// Takes changes of the terminal's size; a full queue drops the older ones.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Resolves when the command has ended, or for attach when the container has.
    pub ended: BoxFuture<'static, Ended>,
}

/// Bytes of a log, in chunks.
pub type LogStream = BoxStream<'static, Result<bytes::Bytes, Status>>;

/// The node's side of logs, exec and attach.
#[async_trait]
pub trait NodeGateway: Send + Sync + 'static {
    /// The log of a container.
    async fn logs(
        &self,
        node: &str,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<LogStream, Status>;

    /// Runs a command in a container.
    async fn exec(
        &self,
        node: &str,
        container: &ContainerRef,
        command: Vec<String>,
        options: StreamOptions,
    ) -> Result<Session, Status>;

    /// Connects to a container's own process.
    async fn attach(
        &self,
        node: &str,
        container: &ContainerRef,
        options: StreamOptions,
    ) -> Result<Session, Status>;
}
