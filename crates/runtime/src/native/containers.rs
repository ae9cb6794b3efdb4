//! Making, starting, stopping and removing containers, and running commands in them.
//!
//! Read next: `plan.rs` (what a container is made of), `shim/supervise.rs` (who keeps it), `adopt.rs` (how an
//! end is noticed).

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::watch;

use super::connect::{self, job, spawn_connected};
use super::frame;
use super::layout::{
    ContainerRecord, EXIT, ExitRecord, RECORD, SHIM_CONF, SHIM_PID, STARTED, StartedRecord, read_record,
    write_record,
};
use super::runtime::{Entry, Inner, blocking, failed};
use super::session::{self, Finish};
use super::shim::{EXEC, SUPERVISE};
use super::{devices, mounts, plan, user};
use crate::api::{
    ContainerConfig, ContainerId, ContainerState, EXEC_OUTPUT_BYTES_MAX, ExecOutput, ImageError, ImageId,
    RuntimeError, RuntimeEvent, SandboxId, Session, Streams,
};

/// How long a killed container may take to be over. Only a process stuck in the kernel (a dead NFS server,
/// a failing disk) takes longer than moments.
const KILL_DEADLINE: Duration = Duration::from_secs(30);

impl Inner {
    pub(crate) async fn create_container(
        self: &Arc<Self>,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let sandbox = self.sandbox(sandbox)?;
        if sandbox.stopped {
            return Err(RuntimeError::NotFound { what: format!("running sandbox {}", sandbox.id.0) });
        }
        if config.log_path.to_string_lossy().contains('\n') {
            return Err(RuntimeError::BadConfig { reason: "a log path holds a newline".to_owned() });
        }
        self.check_oom_preference(&config);
        let image =
            self.layers.image_config(&config.image).map_err(|error| image_error(&config.image, error))?;
        let layers =
            self.layers.layer_dirs(&config.image).map_err(|error| image_error(&config.image, error))?;
        let stop_signal = plan::stop_signal(&config, &image).map_err(bad_config)?;
        let id = ContainerId(self.fresh_id(&format!("{}/{}", sandbox.config.uid, config.name)));
        let record = Arc::new(ContainerRecord {
            id: id.clone(),
            sandbox: sandbox.id.clone(),
            pod_uid: sandbox.config.uid.clone(),
            config,
            created_at: self.clock.now(),
            stop_signal,
        });
        let (inner, made) = (self.clone(), record.clone());
        let prepare = move || {
            let done = inner.prepare(&made, &sandbox, &image, &layers);
            if done.is_err()
                && let Err(left) = inner.discard_container(&made)
            {
                tracing::warn!(%left, "a container that could not be made was not cleaned up");
            }
            done
        };
        tokio::task::spawn_blocking(prepare).await.map_err(failed("make the container"))??;
        let state = watch::Sender::new(ContainerState::Created);
        self.containers().insert(id.clone(), Entry { record, state, pid: None, starting: false });
        Ok(id)
    }

    fn check_oom_preference(&self, config: &ContainerConfig) {
        let (Some(wanted), Some(floor)) = (config.resources.oom_score_adj, self.oom_floor) else { return };
        if wanted < floor {
            self.said_oom_floor.call_once(|| {
                tracing::warn!(
                    wanted,
                    floor,
                    "the out-of-memory preference of containers cannot be lowered without CAP_SYS_RESOURCE; \
                     they run without"
                );
            });
        }
    }

    /// Makes a container's directory: its files mounted, its configuration and record written.
    fn prepare(
        &self,
        record: &ContainerRecord,
        sandbox: &super::layout::SandboxRecord,
        image: &oci_spec::image::ImageConfiguration,
        layers: &[PathBuf],
    ) -> Result<(), RuntimeError> {
        let directory = self.layout.container(&record.id);
        fs::create_dir_all(&directory).map_err(failed("make the container's directory"))?;
        let root = mounts::mount_overlay(&directory, layers).map_err(failed("mount the image's layers"))?;
        let passwd = user::read_accounts(&root, "etc/passwd");
        let group = user::read_accounts(&root, "etc/group");
        let image_user = image.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
        let identity =
            user::resolve(&image_user, &record.config.security, &passwd, &group).map_err(bad_config)?;
        let devices = match record.config.security.privileged {
            true => devices::of_this_machine().map_err(failed("list the machine's devices"))?,
            false => Vec::new(),
        };
        let configuration = plan::configuration(&plan::Inputs {
            container: &record.config,
            image,
            sandbox: &sandbox.config,
            sandbox_directory: &self.layout.sandbox(&sandbox.id),
            identity: &identity,
            cgroup: &self.cgroups.path(&record.pod_uid, &record.id.0),
            bounding: self.own.bounding,
            devices: &devices,
            oom_floor: self.oom_floor,
        })
        .map_err(bad_config)?;
        let working = PathBuf::from(plan::working_directory(&record.config, image));
        let mounted = record.config.mounts.iter().any(|mount| working.starts_with(&mount.container_path));
        if !mounted {
            mounts::make_directory_in(&root, &working).map_err(failed("make the working directory"))?;
        }
        fs::write(directory.join("config.json"), configuration.to_string())
            .map_err(failed("write the container's configuration"))?;
        let mut settings = String::new();
        let oom = self.cgroups.oom_file(&record.pod_uid, &record.id.0).unwrap_or_default();
        let config = &record.config;
        let _ = writeln!(settings, "log={}\noom={}", config.log_path.display(), oom.display());
        let _ = writeln!(settings, "tty={}\nstdin={}", config.tty, config.stdin);
        let _ = writeln!(settings, "stdin_once={}", config.stdin_once);
        fs::write(directory.join(SHIM_CONF), settings).map_err(failed("write the shim's settings"))?;
        write_record(&directory, RECORD, record).map_err(failed("record the container"))
    }

    pub(crate) async fn start_container(self: &Arc<Self>, id: &ContainerId) -> Result<(), RuntimeError> {
        let entry = {
            let mut containers = self.containers();
            let Some(entry) = containers.get_mut(id) else {
                return Err(RuntimeError::NotFound { what: format!("container {}", id.0) });
            };
            let state = entry.state.borrow().clone();
            match state {
                ContainerState::Created if !entry.starting => entry.starting = true,
                ContainerState::Created | ContainerState::Running { .. } => return Ok(()),
                _ => return Err(RuntimeError::Start { reason: "the container is over".to_owned() }),
            }
            entry.clone()
        };
        let directory = self.layout.container(id);
        // Only an earlier agent's shim could be in the way, and `adopt` has found that there is none.
        let _ = fs::remove_file(directory.join(SHIM_PID));
        let mut command = job(&self.exe, SUPERVISE, &directory);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let (shim, answer) = match spawned {
            Ok(shim) => read_answer(shim).await,
            Err(error) => {
                self.containers().entry(id.clone()).and_modify(|entry| entry.starting = false);
                return Err(failed("start the container's shim")(error));
            }
        };
        if answer == "ok" {
            self.note_running(id)?;
            self.attend(id.clone(), Some(shim));
            return Ok(());
        }
        let reason = answer.strip_prefix("error ").unwrap_or(&answer).to_owned();
        self.attend(id.clone(), Some(shim));
        // The shim that failed to start a container has recorded why; wait until that is known here.
        let mut state = entry.state.subscribe();
        let _ = tokio::time::timeout(KILL_DEADLINE, state.wait_for(Inner::is_over)).await;
        Err(RuntimeError::Start { reason })
    }

    /// Takes over from the shim's record that the container runs.
    pub(crate) fn note_running(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let directory = self.layout.container(id);
        let started: Option<StartedRecord> =
            read_record(&directory, STARTED).map_err(failed("read the shim's record"))?;
        let Some(started) = started else { return Ok(()) };
        let mut containers = self.containers();
        let Some(entry) = containers.get_mut(id) else { return Ok(()) };
        entry.pid = Some(started.pid);
        let running = ContainerState::Running { started_at: started.started_at };
        let mut fresh = false;
        entry.state.send_if_modified(|state| {
            fresh = matches!(state, ContainerState::Created);
            if fresh {
                *state = running;
            }
            fresh
        });
        if fresh {
            let pod_uid = entry.record.pod_uid.clone();
            let _ = self.events.send(RuntimeEvent::Started { container: id.clone(), pod_uid });
        }
        Ok(())
    }

    pub(crate) async fn stop_container(
        self: &Arc<Self>,
        id: &ContainerId,
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        let now = entry.state.borrow().clone();
        if Inner::is_over(&now) {
            return Ok(());
        }
        if matches!(now, ContainerState::Created) && !entry.starting {
            let exit = ExitRecord {
                code: 137,
                signal: None,
                oom_killed: false,
                started_at: None,
                finished_at: self.clock.now(),
                message: "the container was stopped before it was started".to_owned(),
            };
            let directory = self.layout.container(id);
            blocking("record the container's end", move || write_record(&directory, EXIT, &exit)).await?;
            self.note_exit(id);
            return Ok(());
        }
        let mut state = entry.state.subscribe();
        if matches!(now, ContainerState::Created) {
            // Its shim is making it: what is not there yet can be sent no signal.
            let begun = state.wait_for(|state| !matches!(state, ContainerState::Created));
            let _ = tokio::time::timeout(KILL_DEADLINE, begun).await;
        }
        if !grace.is_zero() {
            connect::signal(&self.layout.container(id), entry.record.stop_signal).await;
            if let Ok(Ok(_)) = tokio::time::timeout(grace, state.wait_for(Inner::is_over)).await {
                return Ok(());
            }
        }
        let (inner, group) = (self.clone(), Path::new(&entry.record.pod_uid).join(&id.0));
        blocking("kill the container", move || inner.cgroups.kill(&group)).await?;
        let over = tokio::time::timeout(KILL_DEADLINE, state.wait_for(Inner::is_over)).await;
        over.map(|_| ()).map_err(|_| RuntimeError::Failed {
            operation: "kill the container".to_owned(),
            reason: "it is not over after 30 seconds; a process may be stuck in the kernel".to_owned(),
        })
    }

    pub(crate) async fn remove_container(self: &Arc<Self>, id: &ContainerId) -> Result<(), RuntimeError> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        self.stop_container(id, Duration::ZERO).await?;
        let inner = self.clone();
        blocking("remove the container", move || inner.discard_container(&entry.record)).await?;
        self.containers().remove(id);
        Ok(())
    }

    /// Takes away all that a container has on the machine.
    pub(crate) fn discard_container(&self, record: &ContainerRecord) -> io::Result<()> {
        let group = Path::new(&record.pod_uid).join(&record.id.0);
        self.cgroups.kill(&group)?;
        self.cgroups.remove(&group)?;
        let directory = self.layout.container(&record.id);
        mounts::unmount_below(&directory)?;
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn running(&self, id: &ContainerId) -> Result<Entry, RuntimeError> {
        let entry = self.entry(id)?;
        let running = matches!(*entry.state.borrow(), ContainerState::Running { .. });
        if running {
            return Ok(entry);
        }
        Err(RuntimeError::Start { reason: format!("container {} is not running", id.0) })
    }

    pub(crate) async fn exec(
        self: &Arc<Self>,
        id: &ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<Session, RuntimeError> {
        let (mut session, ended) = self.open_exec(id, command, streams)?;
        session.ended = Box::pin(async move { finish(ended.wait().await) });
        Ok(session)
    }

    fn open_exec(
        self: &Arc<Self>,
        id: &ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<(Session, session::Ended), RuntimeError> {
        self.running(id)?;
        if command.is_empty() {
            return Err(RuntimeError::BadConfig { reason: "no command specified".to_owned() });
        }
        let directory = self.layout.container(id);
        let text =
            fs::read(directory.join("config.json")).map_err(failed("read the container's configuration"))?;
        let configuration: Value =
            serde_json::from_slice(&text).map_err(failed("read the container's configuration"))?;
        let process = exec_process(&configuration, &command, streams.tty);
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let terminal = if streams.tty { ".t" } else { "" };
        let input = if streams.stdin { ".i" } else { "" };
        let name = format!("x{}-{count}{terminal}{input}", std::process::id());
        fs::write(directory.join(&name), process.to_string()).map_err(failed("write the command"))?;
        let spawned = spawn_connected(job(&self.exe, EXEC, &directory).arg(&name));
        let mut child = spawned.map_err(|error| {
            let _ = fs::remove_file(directory.join(&name));
            failed("start the command")(error)
        })?;
        let reader = child.stdout.take().expect("the output was asked to be piped");
        let writer = child.stdin.take().expect("the input was asked to be piped");
        let opened = session::open(reader, writer, streams, &self.tasks);
        self.tasks.spawn(async move { child.wait().await });
        Ok(opened)
    }

    pub(crate) async fn exec_sync(
        self: &Arc<Self>,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let streams = Streams { stdin: false, stdout: true, stderr: true, tty: false };
        let (session, ended) = self.open_exec(id, command, streams)?;
        let (stdout, stderr) = (session.stdout, session.stderr);
        let whole = async { tokio::join!(read_bounded(stdout), read_bounded(stderr), ended.wait()) };
        if timeout.is_zero() {
            let (stdout, stderr, end) = whole.await;
            return Ok(ExecOutput { code: finish(end)?, stdout, stderr });
        }
        match tokio::time::timeout(timeout, whole).await {
            Ok((stdout, stderr, end)) => Ok(ExecOutput { code: finish(end)?, stdout, stderr }),
            Err(_) => Err(RuntimeError::TimedOut { timeout }),
        }
    }

    pub(crate) async fn attach(
        self: &Arc<Self>,
        id: &ContainerId,
        streams: Streams,
    ) -> Result<Session, RuntimeError> {
        let entry = self.running(id)?;
        let directory = self.layout.container(id);
        let mut stream =
            connect::connect(&directory).await.map_err(failed("connect to the container's shim"))?;
        let bits = u8::from(streams.stdin) | u8::from(streams.stdout) << 1 | u8::from(streams.stderr) << 2;
        let mut bytes = Vec::new();
        frame::append(&mut bytes, frame::ATTACH, &[bits]);
        stream.write_all(&bytes).await.map_err(failed("attach to the container"))?;
        let (reader, writer) = stream.into_split();
        let streams = Streams { tty: entry.record.config.tty, ..streams };
        let (mut session, ended) = session::open(reader, writer, streams, &self.tasks);
        session.ended = Box::pin(async move { finish(ended.wait().await) });
        Ok(session)
    }
}

/// Reads what a new shim answers, and gives the shim back.
async fn read_answer(mut shim: Child) -> (Child, String) {
    let mut answer = String::new();
    if let Some(mut stdout) = shim.stdout.take() {
        let _ = stdout.read_to_string(&mut answer).await;
    }
    if answer.is_empty()
        && let Some(mut stderr) = shim.stderr.take()
    {
        let _ = stderr.read_to_string(&mut answer).await;
        answer.insert_str(0, "error the container's shim failed: ");
    }
    (shim, answer)
}

/// A container's process description turned into that of a command in it.
fn exec_process(configuration: &Value, command: &[String], tty: bool) -> Value {
    let mut process = configuration.get("process").cloned().unwrap_or_else(|| json!({}));
    process["args"] = json!(command);
    process["terminal"] = json!(tty);
    if let Some(fields) = process.as_object_mut() {
        fields.remove("oomScoreAdj");
    }
    if tty && let Some(env) = process.get_mut("env").and_then(Value::as_array_mut) {
        let named = env.iter().any(|entry| entry.as_str().is_some_and(|entry| entry.starts_with("TERM=")));
        if !named {
            env.push(json!("TERM=xterm"));
        }
    }
    process
}

fn finish(end: Finish) -> Result<i32, RuntimeError> {
    match end {
        Finish::Ended(code) => Ok(code),
        Finish::StartFailed(reason) => Err(RuntimeError::Start { reason }),
        Finish::Lost => Err(RuntimeError::Failed {
            operation: "follow the command".to_owned(),
            reason: "its connection ended before it did".to_owned(),
        }),
    }
}

/// Reads to the end and keeps the beginning.
async fn read_bounded(stream: Option<std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    let mut buffer = vec![0; EXEC_OUTPUT_BYTES_MAX];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let room = EXEC_OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    kept
}

fn bad_config(reason: String) -> RuntimeError {
    RuntimeError::BadConfig { reason }
}

fn image_error(image: &ImageId, error: ImageError) -> RuntimeError {
    match error {
        ImageError::NotPresent { .. } => RuntimeError::NotFound { what: format!("image {}", image.0) },
        other => {
            RuntimeError::Failed { operation: format!("read image {}", image.0), reason: other.to_string() }
        }
    }
}
