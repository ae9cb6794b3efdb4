//! How another process of the same user asks a running cluster: one JSON line each way over a unix socket in
//! the data directory.
//!
//! Only what has no place in the Kubernetes API: stopping, and images of the node.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use runtime::api::{Image, Images};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::data_dir::DataDir;

/// Longest line: a path and a few words.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Requests at a time: people type them.
const REQUESTS_MAX: usize = 8;
/// Time a starting cluster gets to open its socket, and the pause between two tries.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(20);
/// An answer may be late: an import unpacks an image.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Stop; containers stay.
    Stop,
    /// Import an archive.
    Import(PathBuf),
    /// List images.
    Images,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Done.
    Done,
    /// Images imported, or listed.
    Images(Vec<Image>),
    /// It could not be done: why.
    Failed(String),
}

/// Nobody listens on the socket.
#[derive(Debug, thiserror::Error)]
#[error("reach the running cluster at {0}")]
pub(crate) struct NotReached(String);

/// Opens the socket, readable for its owner only.
pub(crate) fn listen(data_dir: &DataDir) -> Result<UnixListener> {
    let path = data_dir.path("control.sock");
    // Left by a run that was killed; the lock says that nobody listens.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until stopped. `imported` is called after each import.
pub(crate) async fn serve(
    listener: UnixListener,
    images: Arc<dyn Images>,
    imported: Arc<dyn Fn() + Send + Sync>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("accept a control connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (images, imported, stop) = (Arc::clone(&images), Arc::clone(&imported), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = answer(stream, images.as_ref(), imported.as_ref(), &stop).await {
                tracing::debug!("a control request failed: {error:#}");
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

async fn answer(
    stream: UnixStream,
    images: &dyn Images,
    imported: &(dyn Fn() + Send + Sync),
    stop: &CancellationToken,
) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    let listed = |result: Result<Vec<Image>, runtime::api::ImageError>| match result {
        Ok(images) => Answer::Images(images),
        Err(error) => Answer::Failed(error.to_string()),
    };
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Stop) => Answer::Done,
        Ok(Request::Import(path)) => {
            let result = images.import(path).await;
            if result.is_ok() {
                imported();
            }
            listed(result)
        }
        Ok(Request::Images) => listed(images.list().await),
        Err(error) => Answer::Failed(format!("the request is not understood: {error}")),
    };
    let stopping = matches!(answer, Answer::Done);
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await?;
    if stopping {
        stop.cancel();
    }
    Ok(())
}

/// Asks the process that runs this cluster.
pub(crate) async fn ask(data_dir: &DataDir, request: &Request) -> Result<Answer> {
    let path = data_dir.path("control.sock");
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    let stream = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => break stream,
            // Just started: the directory is taken before the socket is there.
            Err(_) if tokio::time::Instant::now() < deadline && data_dir.is_locked() => {
                tokio::time::sleep(START_POLL).await;
            }
            Err(error) => {
                return Err(error).context(NotReached(path.display().to_string()));
            }
        }
    };
    let (reader, mut writer) = stream.into_split();
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    writer.write_all(&bytes).await?;
    writer.shutdown().await?;
    let read = async {
        let mut text = Vec::new();
        BufReader::new(reader).read_to_end(&mut text).await?;
        anyhow::Ok(text)
    };
    tokio::time::timeout(ANSWER_TIMEOUT, read).await.context("the running cluster did not answer")?.and_then(
        |text| match serde_json::from_slice(&text)? {
            Answer::Failed(reason) => bail!(reason),
            answer => Ok(answer),
        },
    )
}
