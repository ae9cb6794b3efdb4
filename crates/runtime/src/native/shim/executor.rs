//! The last step inside a container: find the command and become it.
//!
//! What goes wrong is written, as containerd words it, into a pipe that closes by itself when the command
//! runs; libcontainer's own way loses what happens after the start signal.
//!
//! Read next: `create.rs` and `exec.rs` (who read the pipe).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use super::io::write_all;

/// Becomes the command, or says why not.
#[derive(Clone)]
pub(crate) struct Become {
    complaints: Rc<OwnedFd>,
}

/// Makes the executor and the end where its complaints come out.
pub(crate) fn make() -> io::Result<(Become, File)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((Become { complaints: Rc::new(writer) }, File::from(reader)))
}

/// Longest complaint that is read.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Reads what the executor complained about; empty when the command runs. To be called when this process
/// holds no executor any more.
pub(crate) fn complaint(reader: File) -> String {
    let mut text = String::new();
    let _ = reader.take(COMPLAINT_BYTES_MAX).read_to_string(&mut text);
    text
}

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl Executor for Become {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let process = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        let args =
            process.args().as_ref().filter(|args| !args.is_empty()).ok_or(ExecutorError::InvalidArg)?;
        let env = process.env().clone().unwrap_or_default();
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
        let reason = match find(&args[0], path) {
            Err(reason) => reason,
            // `exec` also sets SIGPIPE and the signal mask back to what a program expects.
            Ok(file) => {
                let error = Command::new(&file).arg0(&args[0]).args(&args[1..]).exec();
                format!("exec {}: {}", file.display(), words(&error))
            }
        };
        let _ = write_all(&*self.complaints, reason.as_bytes());
        Err(ExecutorError::Other(reason))
    }
}

fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        let file = Path::new(name);
        return match runnable(file) {
            Ok(true) => Ok(file.to_owned()),
            Ok(false) => Err(format!("exec: \"{name}\": permission denied")),
            Err(error) => Err(format!("exec: \"{name}\": stat {name}: {}", words(&error))),
        };
    }
    let mut denied = false;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let file = Path::new(directory).join(name);
        match runnable(&file) {
            Ok(true) => return Ok(file),
            Ok(false) => denied = true,
            Err(_) => {}
        }
    }
    let reason = if denied { "permission denied" } else { "executable file not found in $PATH" };
    Err(format!("exec: \"{name}\": {reason}"))
}

fn runnable(file: &Path) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The C library's words without Rust's `(os error N)`, in lower case as Go prints them.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
