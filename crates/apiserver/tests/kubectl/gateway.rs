//! A node in name only: commands run as processes of this machine, whatever the container.

use async_trait::async_trait;
use client::node::{ContainerRef, Ended, LogOptions, LogStream, NodeGateway, Session, StreamOptions};
use futures::StreamExt;
use model::status::{Reason, Status};
use std::process::Stdio;
use tokio::process::Command;

pub(crate) struct LocalProcesses;

#[async_trait]
impl NodeGateway for LocalProcesses {
    async fn logs(
        &self,
        _: &str,
        container: &ContainerRef,
        options: LogOptions,
    ) -> Result<LogStream, Status> {
        let line =
            format!("{} tail={:?} previous={}\n", container.container, options.tail_lines, options.previous);
        Ok(futures::stream::iter([Ok(bytes::Bytes::from(line))]).boxed())
    }

    async fn exec(
        &self,
        _: &str,
        _: &ContainerRef,
        command: Vec<String>,
        options: StreamOptions,
    ) -> Result<Session, Status> {
        let pipe = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(pipe(options.stdin))
            .stdout(pipe(options.stdout))
            .stderr(pipe(options.stderr))
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Status::new(Reason::InternalError, format!("{}: {error}", command[0])))?;
        Ok(Session {
            stdin: child.stdin.take().map(|stdin| Box::pin(stdin) as _),
            stdout: child.stdout.take().map(|stdout| Box::pin(stdout) as _),
            stderr: child.stderr.take().map(|stderr| Box::pin(stderr) as _),
            resize: None,
            ended: Box::pin(async move {
                match child.wait().await {
                    Ok(status) => Ended::Exited(status.code().unwrap_or(137)),
                    Err(error) => Ended::Failed(error.to_string()),
                }
            }),
        })
    }

    async fn attach(
        &self,
        node: &str,
        container: &ContainerRef,
        options: StreamOptions,
    ) -> Result<Session, Status> {
        self.exec(node, container, vec!["cat".to_owned()], options).await
    }
}
