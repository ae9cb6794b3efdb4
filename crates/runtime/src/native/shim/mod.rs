//! What the binary does when it is started again for one job: to keep a container, make one, run a command
//! in one, or hold a sandbox's namespaces.
//!
//! Each job is a single-threaded process: libcontainer changes the process's directory and forks, which
//! inside the many-threaded agent would deadlock. Nothing here may start a thread or an async runtime, and
//! the supervising job must allocate next to nothing: there is one for every container.
//!
//! Read next: `supervise.rs` (`__shim`), `create.rs` (`__create`), `exec.rs` (`__exec`), `sandbox.rs`
//! (`__sandbox` and `__pause`).

mod create;
mod exec;
mod executor;
mod io;
mod log;
mod sandbox;
mod supervise;

pub(crate) use sandbox::{PAUSE_PID, on_own_thread as make_namespaces};

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Name of the job that keeps one container.
pub(crate) const SUPERVISE: &str = "__shim";
/// Name of the job that makes one container.
pub(crate) const CREATE: &str = "__create";
/// Name of the job that runs one command in a container.
pub(crate) const EXEC: &str = "__exec";
/// Name of the job that makes a sandbox's namespaces where one of them is of process ids.
pub(crate) const SANDBOX: &str = "__sandbox";
/// Name of the job that is process 1 of a shared process namespace.
pub(crate) const PAUSE: &str = "__pause";

/// Whether these command line arguments (without the program's name) are for [`shim_main`].
pub fn is_shim(args: &[OsString]) -> bool {
    let first = args.first().and_then(|arg| arg.to_str());
    first.is_some_and(|arg| [SUPERVISE, CREATE, EXEC, SANDBOX, PAUSE].contains(&arg))
}

/// Does the job that the arguments (without the program's name) ask for. To be called before the process
/// has any thread but its first.
pub fn shim_main(args: &[OsString]) -> ExitCode {
    let text = |index: usize| args.get(index).and_then(|arg| arg.to_str()).unwrap_or("");
    let directory = Path::new(text(1));
    let done = match text(0) {
        SUPERVISE => supervise::run(directory),
        CREATE => create::run(directory, text(2)),
        EXEC => exec::run(directory, text(2)),
        SANDBOX => sandbox::run(directory),
        PAUSE => sandbox::pause(),
        _ => Err(std::io::Error::other("this is not a job of the runtime")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
