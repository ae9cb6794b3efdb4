//! The agent's end of a shim's socket, and of a running `__exec`.
//!
//! Read next: `frame.rs`, `shim/supervise.rs`.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::frame;
use super::layout::SOCKET;
use super::purge::shim_of;

/// Connects to the shim of a container's directory. The path goes through a descriptor, because a socket's
/// whole path may not exceed 107 bytes.
pub(crate) async fn connect(directory: &Path) -> io::Result<UnixStream> {
    let opened = openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd())).await
}

/// Pause until a shim that has only just begun is tried again; it listens within a few milliseconds.
const LISTEN_PAUSE: Duration = Duration::from_millis(10);

/// Waits until the shim of a directory is gone; calls `running` when it says that the container runs.
pub(crate) async fn watch(directory: &Path, mut running: impl FnMut()) {
    let mut stream = loop {
        match connect(directory).await {
            Ok(stream) => break stream,
            Err(_) if shim_of(directory).is_some() => tokio::time::sleep(LISTEN_PAUSE).await,
            Err(_) => return,
        }
    };
    if stream.write_all(&frame::header(frame::WATCH, 0)).await.is_err() {
        return;
    }
    let mut buffer = [0; 64];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        running();
    }
}

/// Has the shim send a signal to its container; one that is over has no shim, which is fine.
pub(crate) async fn signal(directory: &Path, number: i32) {
    let Ok(mut stream) = connect(directory).await else { return };
    let mut bytes = Vec::new();
    frame::append(&mut bytes, frame::SIGNAL, &number.to_le_bytes());
    if stream.write_all(&bytes).await.is_ok() {
        let mut answer = [0; frame::HEADER_BYTES];
        let _ = stream.read_exact(&mut answer).await;
    }
}

/// Starts our own binary for one of its jobs.
pub(crate) fn job(exe: &Path, name: &str, directory: &Path) -> Command {
    let mut command = Command::new(exe);
    command.arg(name).arg(directory).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a job with its three streams connected; standard error carries only complaints of the job itself.
pub(crate) fn spawn_connected(command: &mut Command) -> io::Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}
