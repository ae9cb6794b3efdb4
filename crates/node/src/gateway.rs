//! Logs, exec and attach: what the API server asks of this node.
//!
//! Access was checked before. It must never touch a pod's view: it looks up the newest instance in the
//! [`Directory`] and talks to the runtime.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use client::node::{
    ContainerRef, Ended, LogOptions, LogStream, NodeGateway, Output, Session, StreamOptions, TerminalSize,
};
use futures::StreamExt;
use model::status::{Reason, Status};
use runtime::api::{self, RuntimeError, Streams};
use tokio::sync::mpsc;

use crate::config::log_directory_name;
use crate::directory::{Directory, Entry};
use crate::execute::Context;
use crate::logs::{FileWatch, LogReader};

/// Changes of size waiting for the terminal; a person cannot drag faster than it takes them.
const RESIZE_QUEUE: usize = 8;

/// Most of a log that is read for somebody who attaches when the container is over; what is replayed to the
/// first who attaches while it runs.
const LAST_WORDS_BYTES_MAX: u64 = 32 * 1024;

/// The agent as the API server sees it.
pub(crate) struct Gateway {
    context: Arc<Context>,
    directory: Arc<Directory>,
}

impl Gateway {
    pub(crate) fn new(context: Arc<Context>, directory: Arc<Directory>) -> Gateway {
        Gateway { context, directory }
    }

    fn check_node(&self, node: &str) -> Result<(), Status> {
        if node == self.context.config.node_name {
            return Ok(());
        }
        Err(Status::internal(format!("node {node} is not served by this agent")))
    }

    fn running(&self, container: &ContainerRef) -> Result<Entry, Status> {
        match self.directory.find(&container.uid, &container.container) {
            Some(entry) if entry.running => Ok(entry),
            Some(_) => Err(Status::internal(format!("container not running ({})", container.container))),
            None => {
                Err(Status::new(Reason::NotFound, format!("container not found ({:?})", container.container)))
            }
        }
    }

    /// A session with a container that is over for good. Who comes a moment too late (`kubectl run -i` of
    /// something quick) gets what it said.
    async fn last_words(
        &self,
        container: &ContainerRef,
        entry: &Entry,
        options: &StreamOptions,
    ) -> Result<Session, Status> {
        let path = self.log_path(container, entry.attempt);
        let printed = crate::logs::printed(&path, LAST_WORDS_BYTES_MAX).await;
        let printed = printed.map_err(|error| Status::internal(format!("read the log: {error}")))?;
        let [stdout, stderr] = printed.map(|bytes| -> Output { Box::pin(std::io::Cursor::new(bytes)) });
        Ok(Session {
            stdin: None,
            stdout: options.stdout.then_some(stdout),
            stderr: (options.stderr && !options.tty).then_some(stderr),
            resize: None,
            // An attach ends well however the container ended: that is in the pod's status.
            ended: Box::pin(async { Ended::Exited(0) }),
        })
    }

    fn log_path(&self, container: &ContainerRef, attempt: u32) -> PathBuf {
        let pod = log_directory_name(&container.namespace, &container.pod, &container.uid);
        let root = self.context.config.root_dir.join("pods");
        root.join(pod).join(&container.container).join(format!("{attempt}.log"))
    }

    /// The newest log on the disk, for pods that were over before this agent started.
    async fn newest_attempt(&self, container: &ContainerRef) -> Option<u32> {
        let directory = self.log_path(container, 0).parent()?.to_owned();
        let mut entries = tokio::fs::read_dir(directory).await.ok()?;
        let mut newest = None;
        while let Ok(Some(entry)) = entries.next_entry().await {
            let name = entry.file_name();
            let attempt = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            newest = newest.max(attempt);
        }
        newest
    }
}

#[async_trait]
impl NodeGateway for Gateway {
    async fn logs(
        &self,
        node: &str,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<LogStream, Status> {
        self.check_node(node)?;
        let entry = self.directory.find(&container.uid, &container.container);
        let name = &container.container;
        let attempts = match &entry {
            Some(entry) => Some((entry.attempt, entry.former)),
            None => self.newest_attempt(container).await.map(|newest| (newest, newest.checked_sub(1))),
        };
        let Some((attempt, former)) = attempts else {
            let message = format!("container {name:?} in pod {:?} is waiting to start", container.pod);
            return Err(Status::bad_request(format!("{message}: ContainerCreating")));
        };
        let attempt = match (options.previous, former) {
            (false, _) => attempt,
            (true, Some(previous)) => previous,
            (true, None) => {
                let pod = &container.pod;
                let message = format!("previous terminated container {name:?} in pod {pod:?} not found");
                return Err(Status::bad_request(message));
            }
        };
        let path = self.log_path(container, attempt);
        let mut reader = match LogReader::open(&path, options.tail_lines).await {
            Ok(reader) => reader,
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && !self.context.runtime.has_files() =>
            {
                return Ok(futures::stream::empty().boxed());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pod = &container.pod;
                let message = if options.previous {
                    format!("previous terminated container {name:?} in pod {pod:?} not found")
                } else {
                    format!("the log of container {name:?} in pod {pod:?} is not there")
                };
                return Err(Status::bad_request(message));
            }
            Err(error) => return Err(Status::internal(format!("open the log: {error}"))),
        };
        reader.timestamps = options.timestamps;
        reader.since = options.since;
        let watch = if options.follow && !options.previous {
            Some(reader.watch().map_err(|error| Status::internal(format!("watch the log: {error}")))?)
        } else {
            None
        };
        let follower = Follower {
            reader,
            watch,
            left: options.limit_bytes,
            directory: Arc::clone(&self.directory),
            container: container.clone(),
            attempt,
            ending: false,
        };
        let stream = futures::stream::unfold(follower, |mut follower| async move {
            let item = follower.next().await?;
            Some((item, follower))
        });
        Ok(stream.boxed())
    }

    async fn exec(
        &self,
        node: &str,
        container: &ContainerRef,
        command: Vec<String>,
        options: StreamOptions,
    ) -> Result<Session, Status> {
        self.check_node(node)?;
        let entry = self.running(container)?;
        let session = self.context.runtime.exec(&entry.id, command, streams(&options)).await;
        session.map(|session| connect(session, &options)).map_err(|error| refusal(&error))
    }

    async fn attach(
        &self,
        node: &str,
        container: &ContainerRef,
        options: StreamOptions,
    ) -> Result<Session, Status> {
        self.check_node(node)?;
        let ended = self.directory.find(&container.uid, &container.container);
        if let Some(entry) = ended.filter(|entry| !entry.running && entry.former != Some(entry.attempt)) {
            return self.last_words(container, &entry, &options).await;
        }
        let entry = self.running(container)?;
        let session = self.context.runtime.attach(&entry.id, streams(&options)).await;
        session.map(|session| connect(session, &options)).map_err(|error| refusal(&error))
    }
}

/// Streams one log.
struct Follower {
    reader: LogReader,
    watch: Option<FileWatch>,
    left: Option<u64>,
    directory: Arc<Directory>,
    container: ContainerRef,
    attempt: u32,
    /// The container was seen to be over: read to the end and stop.
    ending: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<bytes::Bytes, Status>> {
        /// A container that ends writes its last line before its end is known; the end alone does not
        /// touch the file, so it is looked for this often.
        const LOOK: std::time::Duration = std::time::Duration::from_millis(250);
        if self.left == Some(0) {
            return None;
        }
        loop {
            match self.reader.next().await {
                Ok(Some(mut chunk)) => {
                    if let Some(left) = &mut self.left {
                        let size = usize::try_from(*left).unwrap_or(usize::MAX).min(chunk.len());
                        chunk.truncate(size);
                        *left -= u64::try_from(size).unwrap_or(*left);
                    }
                    return Some(Ok(chunk));
                }
                Ok(None) => {}
                Err(error) => return Some(Err(Status::internal(format!("read the log: {error}")))),
            }
            if self.ending {
                return None;
            }
            let watch = self.watch.as_mut()?;
            let entry = self.directory.find(&self.container.uid, &self.container.container);
            self.ending = !entry.is_some_and(|entry| entry.running && entry.attempt == self.attempt);
            if !self.ending {
                let _ = tokio::time::timeout(LOOK, watch.changed()).await;
            }
        }
    }
}

fn streams(options: &StreamOptions) -> Streams {
    Streams {
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr && !options.tty,
        tty: options.tty,
    }
}

fn connect(session: api::Session, options: &StreamOptions) -> Session {
    let ended = session.ended;
    let resize = session.resize.map(|sizes| {
        let (sender, mut receiver) = mpsc::channel::<TerminalSize>(RESIZE_QUEUE);
        (sender, async move {
            while let Some(size) = receiver.recv().await {
                if sizes.send((size.columns, size.rows)).await.is_err() {
                    return;
                }
            }
        })
    });
    let (resize, forward) = match resize {
        Some((sender, forward)) => (Some(sender), Some(forward)),
        None => (None, None),
    };
    Session {
        stdin: session.stdin.filter(|_| options.stdin),
        stdout: session.stdout.filter(|_| options.stdout),
        stderr: session.stderr.filter(|_| options.stderr),
        resize,
        ended: Box::pin(async move {
            let forward = async {
                if let Some(forward) = forward {
                    forward.await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                result = ended => match result {
                    Ok(code) => Ended::Exited(code),
                    Err(error) => Ended::Failed(error.to_string()),
                },
                () = forward => Ended::Failed("the session is over".to_owned()),
            }
        }),
    }
}

fn refusal(error: &RuntimeError) -> Status {
    match error {
        RuntimeError::NotFound { what } => Status::new(Reason::NotFound, format!("{what} not found")),
        RuntimeError::BadConfig { reason } => Status::bad_request(reason.clone()),
        other => Status::internal(format!("error executing command in container: {other}")),
    }
}
