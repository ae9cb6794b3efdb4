//! The job `__create`: makes a container with libcontainer and starts it, then ends.
//!
//! The container's first process inherits this one's standard streams; when this job ends it becomes the
//! child of the shim, which is a subreaper. All that libcontainer costs in memory ends here too.
//!
//! Read next: `executor.rs`, `supervise.rs` (who starts this job).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;

use super::executor;
use super::io::give_pipes;
use crate::native::layout::{LIBCONTAINER, LIBCONTAINER_ID};

/// Name of the socket over which a terminal comes.
pub(crate) const CONSOLE: &str = "console";

/// Makes and starts the container of a directory; `answer` is the number of the descriptor for `pid N` or
/// `error TEXT`.
pub(crate) fn run(directory: &Path, answer: &str) -> io::Result<()> {
    let number: i32 = answer.parse().map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "the shim passes an open descriptor by its number")]
    // SAFETY: the shim let exactly this descriptor through the exec, and nothing else in this fresh process
    // knows of it.
    let answer = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&answer, rustix::io::FdFlags::CLOEXEC)?;
    let text = match make(directory) {
        Ok(pid) => format!("pid {pid}"),
        Err(reason) => format!("error {reason}"),
    };
    File::from(answer).write_all(text.as_bytes())
}

fn make(directory: &Path) -> Result<i32, String> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    give_pipes(&directory.join("config.json"), "/process/user/uid", streams)
        .map_err(|error| format!("give the container its streams: {error}"))?;
    let (executor, complaints) = executor::make().map_err(|error| error.to_string())?;
    let built = build(directory, executor);
    let complaint = executor::complaint(complaints);
    match built {
        _ if !complaint.is_empty() => Err(complaint),
        Ok(pid) => Ok(pid),
        Err(error) => Err(executor::chain(&error)),
    }
}

fn build(directory: &Path, executor: executor::Become) -> Result<i32, LibcontainerError> {
    let console = directory.join(CONSOLE);
    let mut builder = ContainerBuilder::new(LIBCONTAINER_ID.to_owned(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(directory.join(LIBCONTAINER))?;
    if console.exists() {
        builder = builder.with_console_socket(Some(console));
    }
    let mut container = builder.as_init(directory).with_systemd(false).with_detach(true).build()?;
    container.start()?;
    let pid = container.pid().map(|pid| pid.as_raw());
    pid.ok_or_else(|| LibcontainerError::Other("the container has no process".to_owned()))
}
