//! The job `__exec`: runs one command in a container, connected by frames on standard input and output.
//!
//! The end of standard input means that nobody is interested any more: the command is killed. So nothing of
//! an exec outlives the agent's connection to it.
//!
//! Read next: `../frame.rs`, `../session.rs` (the other end), `executor.rs`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitStatus, kill_process, kill_process_group, pidfd_open};

use super::executor;
use super::io::{
    Read, give_pipes, listen_in, read_now, reap_any, receive_terminal, set_nonblocking, write_all,
};
use crate::native::frame::{self, Parsed};
use crate::native::layout::{LIBCONTAINER, LIBCONTAINER_ID};

/// Bytes of one read.
const READ_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of input kept for a command that does not read; then no more is taken.
const STDIN_BUFFER_BYTES_MAX: usize = 2 * frame::PAYLOAD_BYTES_MAX;

struct Running {
    pid: Pid,
    /// The command's standard input; none when it has none or it has ended.
    stdin: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
    terminal: bool,
    pending: Vec<u8>,
    ending: bool,
}

/// Runs the command that `name` (a process configuration in the container's directory) describes. A name
/// that ends in `.i` gets standard input, one with `.t` before that a terminal.
pub(crate) fn run(directory: &Path, name: &str) -> io::Result<()> {
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let process = directory.join(name);
    let started = start(directory, name);
    let _ = fs::remove_file(&process);
    let code = match started {
        Ok(running) => relay(running)?,
        Err(reason) => {
            let mut bytes = Vec::new();
            let cut = reason.len().min(frame::PAYLOAD_BYTES_MAX);
            frame::append(&mut bytes, frame::START_FAILED, &reason.as_bytes()[..cut]);
            return write_all(rustix::stdio::stdout(), &bytes);
        }
    };
    let mut bytes = Vec::new();
    frame::append(&mut bytes, frame::ENDED, &code.to_le_bytes());
    write_all(rustix::stdio::stdout(), &bytes)
}

fn start(directory: &Path, name: &str) -> Result<Running, String> {
    let words = |error: io::Error| error.to_string();
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| io::Error::from(error).to_string())
    };
    let (takes_input, terminal) = (name.ends_with(".i"), name.contains(".t"));
    let console = format!("{name}.s");
    let builder = || {
        ContainerBuilder::new(LIBCONTAINER_ID.to_owned(), SyscallType::default())
            .with_root_path(directory.join(LIBCONTAINER))
            .map_err(|error| executor::chain(&error))
    };
    let process = directory.join(name);
    let (executor, complaints) = executor::make().map_err(words)?;
    let finish = |built: Result<i32, LibcontainerError>, complaints| {
        let complaint = executor::complaint(complaints);
        let pid = match built {
            _ if !complaint.is_empty() => return Err(complaint),
            Ok(pid) => pid,
            Err(error) => return Err(executor::chain(&error)),
        };
        Pid::from_raw(pid).ok_or_else(|| "the command has no process id".to_owned())
    };
    if terminal {
        let listener = listen_in(directory, &console).map_err(words)?;
        let built = builder()?
            .with_executor(executor)
            .with_console_socket(Some(directory.join(&console)))
            .as_tenant()
            .with_detach(true)
            .with_process(Some(process))
            .build();
        let _ = fs::remove_file(directory.join(&console));
        let pid = finish(built.map(|pid| pid.as_raw()), complaints)?;
        let master = receive_terminal(listener.accept().map_err(words)?.0).map_err(words)?;
        let stdin = if takes_input {
            Some(rustix::io::fcntl_dupfd_cloexec(&master, 3).map_err(|error| words(error.into()))?)
        } else {
            None
        };
        let outputs = [Some(master), None];
        return Ok(Running { pid, stdin, outputs, terminal, pending: Vec::new(), ending: false });
    }
    let (out, out_theirs) = pipe()?;
    let (err, err_theirs) = pipe()?;
    let (stdin_theirs, stdin) = if takes_input {
        let (theirs, ours) = pipe()?;
        (theirs, Some(ours))
    } else {
        (fs::File::open("/dev/null").map_err(words)?.into(), None)
    };
    give_pipes(&process, "/user/uid", [stdin_theirs.as_fd(), out_theirs.as_fd(), err_theirs.as_fd()])
        .map_err(words)?;
    let built = builder()?
        .with_executor(executor)
        .with_stdin(stdin_theirs)
        .with_stdout(out_theirs)
        .with_stderr(err_theirs)
        .as_tenant()
        .with_detach(true)
        .with_process(Some(process))
        .build();
    let pid = finish(built.map(|pid| pid.as_raw()), complaints)?;
    Ok(Running { pid, stdin, outputs: [Some(out), Some(err)], terminal, pending: Vec::new(), ending: false })
}

/// Carries bytes both ways until the command is over; gives its exit code.
fn relay(mut running: Running) -> io::Result<i32> {
    let exit = pidfd_open(running.pid, PidfdFlags::empty())?;
    for fd in running.outputs.iter().chain([&running.stdin]).flatten() {
        set_nonblocking(fd.as_fd())?;
    }
    let mut input: Vec<u8> = Vec::new();
    let mut abandoned = false;
    loop {
        if let Some(status) = reap(running.pid)? {
            for stream in 0..2 {
                while running.pass_output(stream)? {}
            }
            let signal = status.terminating_signal();
            return Ok(status.exit_status().unwrap_or_else(|| 128 + signal.unwrap_or(0)));
        }
        let mut ready = [false; 4];
        {
            let mut fds = vec![PollFd::new(&exit, PollFlags::IN)];
            let mut at = [usize::MAX; 4];
            let ours = rustix::stdio::stdin();
            if !abandoned {
                at[0] = fds.len();
                let room = running.pending.len() < STDIN_BUFFER_BYTES_MAX;
                let wanted = if room { PollFlags::IN } else { PollFlags::empty() };
                fds.push(PollFd::new(&ours, wanted));
            }
            for (index, output) in running.outputs.iter().enumerate() {
                if let Some(output) = output {
                    at[index + 1] = fds.len();
                    fds.push(PollFd::new(output, PollFlags::IN));
                }
            }
            if let Some(stdin) = running.stdin.as_ref().filter(|_| !running.pending.is_empty()) {
                at[3] = fds.len();
                fds.push(PollFd::new(stdin, PollFlags::OUT));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for (index, at) in at.into_iter().enumerate() {
                ready[index] = at != usize::MAX && !fds[at].revents().is_empty();
            }
        }
        if ready[0] && !running.take_input(&mut input) {
            abandoned = true;
            running.kill();
        }
        for stream in 0..2 {
            if ready[stream + 1] && running.pass_output(stream).is_err() {
                abandoned = true;
                running.outputs = [None, None];
                running.kill();
            }
        }
        if ready[3] {
            running.write_stdin();
        }
    }
}

fn reap(wanted: Pid) -> io::Result<Option<WaitStatus>> {
    loop {
        match reap_any() {
            Ok(Some((pid, status))) if pid == wanted => return Ok(Some(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Running {
    /// The command leads a session of its own, so its group is all it started and did not detach.
    fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// Reads frames from the agent; whether it is still there.
    fn take_input(&mut self, input: &mut Vec<u8>) -> bool {
        let mut buffer = [0u8; READ_BYTES_MAX];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => return false,
            Ok(count) => input.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
            Err(_) => return false,
        }
        let mut used = 0;
        loop {
            match frame::parse(&input[used..]) {
                Parsed::Incomplete => break,
                Parsed::TooLong => return false,
                Parsed::Frame { kind, payload, taken } => {
                    match kind {
                        frame::STDIN if self.stdin.is_some() => self.pending.extend_from_slice(payload),
                        frame::STDIN_CLOSE => self.ending = true,
                        frame::RESIZE if payload.len() == 4 => self.resize(payload),
                        _ => {}
                    }
                    used += taken;
                }
            }
        }
        input.drain(..used);
        self.write_stdin();
        true
    }

    fn resize(&self, payload: &[u8]) {
        let size = rustix::termios::Winsize {
            ws_col: u16::from_le_bytes([payload[0], payload[1]]),
            ws_row: u16::from_le_bytes([payload[2], payload[3]]),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        if let Some(terminal) = self.outputs[0].as_ref().filter(|_| self.terminal) {
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }

    fn write_stdin(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        while !self.pending.is_empty() {
            match rustix::io::write(stdin, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.pending.clear();
                    self.stdin = None;
                    return;
                }
            }
        }
        if self.ending {
            self.stdin = None;
        }
    }

    /// Passes one read on; whether there may be more. An error means that the agent is gone.
    fn pass_output(&mut self, stream: usize) -> io::Result<bool> {
        let Some(output) = &self.outputs[stream] else { return Ok(false) };
        let mut buffer = [0u8; READ_BYTES_MAX];
        match read_now(output, &mut buffer) {
            Read::Some(count) => {
                let kind = if stream == 0 { frame::STDOUT } else { frame::STDERR };
                let mut bytes = Vec::with_capacity(count + frame::HEADER_BYTES);
                frame::append(&mut bytes, kind, &buffer[..count]);
                write_all(rustix::stdio::stdout(), &bytes)?;
                Ok(true)
            }
            Read::Later => Ok(false),
            Read::End => {
                self.outputs[stream] = None;
                Ok(false)
            }
        }
    }
}
