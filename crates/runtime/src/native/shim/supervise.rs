//! The job `__shim`: keeps one container for as long as it runs.
//!
//! It owns the container's standard streams, writes its log, passes bytes to and from those attached,
//! reaps it and records how it ended, whatever becomes of the agent. It must never block on a client, keep
//! more than a bounded buffer for one, or hold anything of libcontainer in memory.
//!
//! Read next: `create.rs` (how the container comes to be), `log.rs`, `../frame.rs` (what clients say).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, WaitStatus, pidfd_open};

use super::create::CONSOLE;
use super::io::{Read, let_through_exec, listen_in, read_now, reap_any, receive_terminal, set_nonblocking};
use super::log::{Log, now};
use super::{CREATE, io as fd};
use crate::native::frame::{self, Parsed};
use crate::native::layout::{EXIT, SHIM_CONF, SHIM_PID, SOCKET, STARTED, claim, write_durably};

/// Most connections at once: the agent's one and a few people attached. More are turned away.
const CLIENTS_MAX: usize = 32;
/// Most bytes kept for a client that does not read: 8 reads of the largest kind. Then it is dropped, because
/// neither the container nor the others may wait for it.
const CLIENT_BUFFER_BYTES_MAX: usize = 8 * READ_BYTES_MAX;
/// Most bytes of standard input kept for a container that does not read; then clients wait.
const STDIN_BUFFER_BYTES_MAX: usize = 2 * frame::PAYLOAD_BYTES_MAX;
/// Bytes of one read from the container.
const READ_BYTES_MAX: usize = 16 * 1024;
/// How long a client may take to read what is left when the container is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// Standard input among the bits of [`frame::ATTACH`].
const STDIN_BIT: u8 = 1;
/// Bit and frame of standard output and standard error.
const OUTPUTS: [(u8, u8); 2] = [(2, frame::STDOUT), (4, frame::STDERR)];

/// What a shim must know; lines of `name=value`, so that no JSON code is touched in a shim.
struct Settings {
    log: PathBuf,
    oom: PathBuf,
    tty: bool,
    stdin: bool,
    stdin_once: bool,
}

impl Settings {
    fn read(directory: &Path) -> io::Result<Settings> {
        let text = fs::read_to_string(directory.join(SHIM_CONF))?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or("")
        };
        Ok(Settings {
            log: value("log").into(),
            oom: value("oom").into(),
            tty: value("tty") == "true",
            stdin: value("stdin") == "true",
            stdin_once: value("stdin_once") == "true",
        })
    }
}

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    watches: bool,
    /// Bits of [`frame::ATTACH`].
    attached: u8,
    gone: bool,
}

impl Client {
    fn send(&mut self, kind: u8, payload: &[u8]) {
        frame::append(&mut self.output, kind, payload);
        self.write();
        self.gone |= self.output.len() > CLIENT_BUFFER_BYTES_MAX;
    }

    fn write(&mut self) {
        while !self.output.is_empty() && !self.gone {
            match rustix::io::write(&self.stream, &self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.gone = true,
            }
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }
}

struct Shim {
    settings: Settings,
    log: Log,
    listener: UnixListener,
    pid: Pid,
    /// stdout and stderr, or the terminal; `None` once over.
    outputs: [Option<OwnedFd>; 2],
    stdin: Option<OwnedFd>,
    stdin_pending: Vec<u8>,
    clients: Vec<Client>,
    /// Somebody was attached to standard input.
    talked: bool,
}

/// The container's ends of its streams, and ours.
struct Streams {
    theirs: [Stdio; 3],
    stdin: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
}

/// Keeps the container of a directory.
pub(crate) fn run(directory: &Path) -> io::Result<()> {
    // A session of its own, so that no terminal's Ctrl-C reaches it.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Made durable by the record that the container runs.
    if !claim(directory, SHIM_PID, &std::process::id().to_string())? {
        return Err(io::Error::other("somebody else has the container"));
    }
    let settings = Settings::read(directory)?;
    let log = Log::open(&settings.log)?;
    let listener = listen_in(directory, SOCKET)?;
    listener.set_nonblocking(true)?;
    let console = if settings.tty { Some(listen_in(directory, CONSOLE)?) } else { None };

    let mut streams = streams(&settings)?;
    let started = create(directory, streams.theirs);
    let (pid, started_at) = match started {
        Ok(pid) => (pid, now()),
        Err(reason) => {
            record_exit(directory, 128, None, false, None, &reason)?;
            tell_agent(&format!("error {reason}"));
            return Ok(());
        }
    };
    if let Some(console) = console {
        let terminal = receive_terminal(console.accept()?.0)?;
        if settings.stdin {
            streams.stdin = Some(rustix::io::fcntl_dupfd_cloexec(&terminal, 3)?);
        }
        streams.outputs = [Some(terminal), None];
        let _ = fs::remove_file(CONSOLE);
    }
    for output in streams.outputs.iter().flatten() {
        set_nonblocking(output.as_fd())?;
    }
    let started = format!("{{\"pid\":{pid},\"started_at\":\"{started_at}\"}}");
    write_durably(directory, STARTED, started.as_bytes())?;
    tell_agent("ok");

    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("the container has no process id"))?;
    let Streams { stdin, outputs, .. } =
        Streams { theirs: [Stdio::null(), Stdio::null(), Stdio::null()], ..streams };
    if let Some(stdin) = &stdin {
        set_nonblocking(stdin.as_fd())?;
    }
    let (stdin_pending, clients, talked) = (Vec::new(), Vec::new(), false);
    let mut shim = Shim { settings, log, listener, pid, outputs, stdin, stdin_pending, clients, talked };
    fd::release_code();
    let status = shim.attend()?;
    shim.drain();
    let signal = status.terminating_signal();
    let code = status.exit_status().unwrap_or_else(|| 128 + signal.unwrap_or(0));
    let oom_killed = code != 0 && oom_kills(&shim.settings.oom) > 0;
    record_exit(directory, code, signal, oom_killed, Some(&started_at), "")?;
    shim.farewell(code);
    Ok(())
}

fn streams(settings: &Settings) -> io::Result<Streams> {
    let null = || Stdio::null();
    if settings.tty {
        return Ok(Streams { theirs: [null(), null(), null()], stdin: None, outputs: [None, None] });
    }
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (out, out_theirs) = pipe()?;
    let (err, err_theirs) = pipe()?;
    let (stdin_theirs, stdin) = if settings.stdin {
        let (theirs, ours) = pipe()?;
        (Stdio::from(theirs), Some(ours))
    } else {
        (null(), None)
    };
    let theirs = [stdin_theirs, Stdio::from(out_theirs), Stdio::from(err_theirs)];
    Ok(Streams { theirs, stdin, outputs: [Some(out), Some(err)] })
}

/// Runs `__create` to its end and gives the container's process id.
fn create(directory: &Path, theirs: [Stdio; 3]) -> Result<i32, String> {
    let words = |error: io::Error| error.to_string();
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let number = let_through_exec(writer.as_fd()).map_err(words)?;
    let [stdin, stdout, stderr] = theirs;
    let mut command = Command::new("/proc/self/exe");
    command.arg(CREATE).arg(directory).arg(number.to_string());
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().map_err(words)?;
    // The container's ends of its pipes live in the command.
    drop(command);
    drop(writer);
    let mut answer = String::new();
    File::from(reader).read_to_string(&mut answer).map_err(words)?;
    child.wait().map_err(words)?;
    match answer.split_once(' ') {
        Some(("pid", pid)) => pid.parse().map_err(|_| format!("{pid:?} is not a process id")),
        Some(("error", reason)) => Err(reason.to_owned()),
        _ => Err("the container could not be made: its maker ended without an answer".to_owned()),
    }
}

/// Tells whoever started this shim how that went, once, and lets its streams go.
fn tell_agent(text: &str) {
    let _ = fd::write_all(rustix::stdio::stdout(), text.as_bytes());
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

impl Shim {
    /// Serves everybody until the container is over.
    fn attend(&mut self) -> io::Result<WaitStatus> {
        let exit = pidfd_open(self.pid, PidfdFlags::empty())?;
        loop {
            if let Some(status) = self.reap()? {
                return Ok(status);
            }
            let mut ready = [false; 4];
            let mut clients = vec![false; self.clients.len()];
            {
                let room = self.stdin_pending.len() < STDIN_BUFFER_BYTES_MAX;
                let mut fds =
                    vec![PollFd::new(&exit, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
                let mut at = [usize::MAX; 3];
                for (index, output) in self.outputs.iter().enumerate() {
                    if let Some(output) = output {
                        at[index] = fds.len();
                        fds.push(PollFd::new(output, PollFlags::IN));
                    }
                }
                if let Some(stdin) = self.stdin.as_ref().filter(|_| !self.stdin_pending.is_empty()) {
                    at[2] = fds.len();
                    fds.push(PollFd::new(stdin, PollFlags::OUT));
                }
                let first = fds.len();
                for client in &self.clients {
                    let mut wanted = PollFlags::empty();
                    if room {
                        wanted |= PollFlags::IN;
                    }
                    if !client.output.is_empty() {
                        wanted |= PollFlags::OUT;
                    }
                    fds.push(PollFd::new(&client.stream, wanted));
                }
                match poll(&mut fds, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                ready[0] = !fds[1].revents().is_empty();
                for (index, at) in at.into_iter().enumerate() {
                    ready[index + 1] = at != usize::MAX && !fds[at].revents().is_empty();
                }
                for (index, client) in clients.iter_mut().enumerate() {
                    *client = !fds[first + index].revents().is_empty();
                }
            }
            for (index, _) in clients.iter().enumerate().filter(|(_, ready)| **ready) {
                self.serve(index);
            }
            for stream in 0..2 {
                if ready[stream + 1] {
                    self.read_output(stream);
                }
            }
            if ready[3] {
                self.write_stdin();
            }
            if ready[0] {
                self.accept();
            }
            self.dismiss();
        }
    }

    /// Reaps whoever is over; the container's status when it is among them.
    fn reap(&self) -> io::Result<Option<WaitStatus>> {
        loop {
            match reap_any() {
                Ok(Some((pid, status))) if pid == self.pid => return Ok(Some(status)),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < CLIENTS_MAX && stream.set_nonblocking(true).is_ok() {
                let (input, output) = (Vec::new(), Vec::new());
                self.clients.push(Client { stream, input, output, watches: false, attached: 0, gone: false });
            }
        }
    }

    fn serve(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.write();
        let mut buffer = [0u8; READ_BYTES_MAX];
        match read_now(&client.stream, &mut buffer) {
            Read::Some(count) => client.input.extend_from_slice(&buffer[..count]),
            Read::Later => {}
            Read::End => client.gone = true,
        }
        let mut input = std::mem::take(&mut self.clients[index].input);
        let mut used = 0;
        loop {
            match frame::parse(&input[used..]) {
                Parsed::Incomplete => break,
                Parsed::TooLong => {
                    self.clients[index].gone = true;
                    break;
                }
                Parsed::Frame { kind, payload, taken } => {
                    self.obey(index, kind, payload);
                    used += taken;
                }
            }
        }
        input.drain(..used);
        if !input.is_empty() {
            self.clients[index].input = input;
        }
    }

    fn obey(&mut self, index: usize, kind: u8, payload: &[u8]) {
        let attached = self.clients[index].attached;
        match kind {
            frame::WATCH => {
                self.clients[index].watches = true;
                self.clients[index].send(frame::WATCH, &[]);
            }
            frame::SIGNAL => {
                let number = payload.try_into().map(i32::from_le_bytes).unwrap_or(0);
                if (1..=64).contains(&number) {
                    #[expect(unsafe_code, reason = "rustix has no safe way to name a real-time signal")]
                    // SAFETY: the process is this one's child and not reaped, and no memory is involved.
                    unsafe {
                        libc::kill(self.pid.as_raw_nonzero().get(), number);
                    }
                }
                self.clients[index].send(frame::SIGNAL, &[]);
            }
            frame::ATTACH => self.attach(index, payload.first().copied().unwrap_or(0)),
            frame::STDIN if attached & STDIN_BIT != 0 && self.stdin.is_some() => {
                self.stdin_pending.extend_from_slice(payload);
                self.write_stdin();
            }
            frame::STDIN_CLOSE if attached & STDIN_BIT != 0 => self.end_stdin(),
            frame::RESIZE if self.settings.tty && payload.len() == 4 => {
                let size = rustix::termios::Winsize {
                    ws_col: u16::from_le_bytes([payload[0], payload[1]]),
                    ws_row: u16::from_le_bytes([payload[2], payload[3]]),
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                if let Some(terminal) = &self.outputs[0] {
                    let _ = rustix::termios::tcsetwinsize(terminal, size);
                }
            }
            _ => {}
        }
    }

    /// From now on a client gets what the container prints. Whoever is the first to talk with a container
    /// began it in order to: he gets to see what it printed before he came.
    fn attach(&mut self, index: usize, wanted: u8) {
        let is_first = self.settings.stdin && !self.talked;
        self.talked |= wanted & STDIN_BIT != 0;
        let client = &mut self.clients[index];
        client.attached = wanted | 0x80;
        if is_first && wanted & STDIN_BIT != 0 {
            self.log.replay(|stream, bytes| {
                let (bit, kind) = OUTPUTS[stream];
                if wanted & bit != 0 {
                    bytes.chunks(frame::PAYLOAD_BYTES_MAX).for_each(|bytes| client.send(kind, bytes));
                }
            });
        }
    }

    fn end_stdin(&mut self) {
        if self.settings.stdin_once {
            self.settings.stdin = false;
            self.write_stdin();
        }
    }

    fn write_stdin(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        while !self.stdin_pending.is_empty() {
            match rustix::io::write(stdin, &self.stdin_pending) {
                Ok(count) => drop(self.stdin_pending.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.stdin_pending.clear();
                    self.stdin = None;
                    return;
                }
            }
        }
        // Standard input that was asked to end does so once all of it is written; a terminal has no end.
        if !self.settings.stdin && !self.settings.tty {
            self.stdin = None;
        }
    }

    /// Reads once; whether there may be more.
    fn read_output(&mut self, stream: usize) -> bool {
        let Some(output) = &self.outputs[stream] else { return false };
        let mut buffer = [0u8; READ_BYTES_MAX];
        match read_now(output, &mut buffer) {
            Read::Some(count) => {
                self.log.take(stream, &buffer[..count], &now());
                let (bit, kind) = OUTPUTS[stream];
                for client in self.clients.iter_mut().filter(|client| client.attached & bit != 0) {
                    client.send(kind, &buffer[..count]);
                }
                true
            }
            Read::Later => false,
            Read::End => {
                self.log.end(stream, &now());
                self.outputs[stream] = None;
                false
            }
        }
    }

    fn dismiss(&mut self) {
        let lost = self.clients.iter().any(|client| client.gone && client.attached & STDIN_BIT != 0);
        self.clients.retain(|client| !client.gone);
        if lost {
            self.end_stdin();
        }
    }

    /// The container is over: takes what its pipes still hold. A process elsewhere may keep them open, so
    /// this ends at the first empty read, not at their end.
    fn drain(&mut self) {
        for stream in 0..2 {
            while self.read_output(stream) {}
            self.log.end(stream, &now());
        }
        // Who connected in the last moment is told too.
        self.accept();
        for index in 0..self.clients.len() {
            self.serve(index);
        }
    }

    fn farewell(&mut self, code: i32) {
        for client in self.clients.iter_mut().filter(|client| client.attached != 0 && !client.gone) {
            frame::append(&mut client.output, frame::ENDED, &code.to_le_bytes());
            let _ = client.stream.set_nonblocking(false);
            let _ = client.stream.set_write_timeout(Some(FAREWELL));
            client.write();
        }
    }
}

/// How often the kernel killed something here for want of memory.
fn oom_kills(file: &Path) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn record_exit(
    directory: &Path,
    code: i32,
    signal: Option<i32>,
    oom_killed: bool,
    started_at: Option<&str>,
    message: &str,
) -> io::Result<()> {
    let signal = signal.map_or("null".to_owned(), |signal| signal.to_string());
    let started_at = started_at.map_or("null".to_owned(), |time| format!("\"{time}\""));
    let mut escaped = String::new();
    for letter in message.chars() {
        match letter {
            '"' | '\\' => escaped.extend(['\\', letter]),
            letter if letter < ' ' => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    let text = format!(
        "{{\"code\":{code},\"signal\":{signal},\"oom_killed\":{oom_killed},\"started_at\":{started_at},\
         \"finished_at\":\"{}\",\"message\":\"{escaped}\"}}",
        now()
    );
    write_durably(directory, EXIT, text.as_bytes())
}
