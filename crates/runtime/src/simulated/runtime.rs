//! The simulated runtime itself.
//!
//! Read next: `script.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use model::clock::Clock;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::images::reference_of;
use super::script::Script;
use crate::api::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ExecOutput, Exit, Runtime, RuntimeError,
    RuntimeEvent, SandboxConfig, SandboxId, SandboxStatus, Session, Streams,
};

/// Events that a subscriber may fall behind; who falls behind further lists anew.
const EVENTS_MAX: usize = 4_096;
/// Label that overrides the image's script, in the same words: `crash:3s`.
const LABEL: &str = "sim.ordinal.dev/script";

type Answered = Result<ExecOutput, RuntimeError>;
type Answer = dyn Fn(&ContainerConfig, &[String]) -> Answered + Send + Sync;

/// Containers that exist only as values. Cloning shares one runtime, so a test keeps a clone as its handle.
#[derive(Clone)]
pub struct SimulatedRuntime {
    inner: Arc<Inner>,
    _timer: Arc<DropGuard>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    events: broadcast::Sender<RuntimeEvent>,
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    count: u64,
    sandboxes: BTreeMap<SandboxId, SandboxStatus>,
    /// The ready sandbox of each attempt at a pod, by the pod's uid.
    ready: HashMap<(String, u32), SandboxId>,
    containers: BTreeMap<ContainerId, Entry>,
    /// Containers of each sandbox.
    of_sandbox: HashMap<SandboxId, BTreeSet<ContainerId>>,
    /// What will happen when, in order; the count keeps equal moments apart.
    agenda: BTreeMap<(Instant, u64), (ContainerId, i32)>,
    scripts: HashMap<(String, String), Script>,
    answer: Option<Arc<Answer>>,
}

struct Entry {
    status: ContainerStatus,
    script: Script,
    pod_uid: String,
    over: Option<watch::Sender<bool>>,
    /// What is on the agenda about it.
    planned: Vec<(Instant, u64)>,
}

impl SimulatedRuntime {
    /// An empty runtime. To be called inside a tokio runtime: one task serves the timers of all containers.
    pub fn new(clock: Arc<dyn Clock>) -> SimulatedRuntime {
        let inner = Arc::new(Inner {
            clock,
            events: broadcast::channel(EVENTS_MAX).0,
            changed: Notify::new(),
            state: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (timer, stopped) = (inner.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => {}
                () = timer.keep_time() => {}
            }
        });
        SimulatedRuntime { inner, _timer: Arc::new(stop.drop_guard()) }
    }

    /// Says what the containers of this name in this pod do from their next start on, whatever their image.
    pub fn script(&self, pod: &str, container: &str, script: Script) {
        self.inner.state().scripts.insert((pod.to_owned(), container.to_owned()), script);
    }

    /// Answers every exec (probes and hooks among them). Without this, each ends at once with code 0.
    pub fn answer_execs(
        &self,
        answer: impl Fn(&ContainerConfig, &[String]) -> Answered + Send + Sync + 'static,
    ) {
        self.inner.state().answer = Some(Arc::new(answer));
    }

    /// Every container that there is, in the order in which they were made.
    pub fn containers(&self) -> Vec<ContainerId> {
        self.inner.state().containers.keys().cloned().collect()
    }

    /// Ends a running container now, as if by itself.
    pub fn end(&self, id: &ContainerId, code: i32, oom_killed: bool) {
        self.inner.end(id, code, oom_killed);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    async fn keep_time(&self) {
        loop {
            let next = self.state().agenda.keys().next().copied();
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some((moment, _)) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(moment) => self.carry_out(),
                },
            }
        }
    }

    fn carry_out(&self) {
        let now = Instant::now();
        loop {
            let due = {
                let mut state = self.state();
                match state.agenda.first_key_value() {
                    Some(((moment, _), _)) if *moment <= now => state.agenda.pop_first(),
                    _ => None,
                }
            };
            let Some((_, (id, code))) = due else { return };
            self.end(&id, code, false);
        }
    }

    fn plan_end(&self, state: &mut State, id: &ContainerId, after: Duration, code: i32) {
        state.count += 1;
        let at = (Instant::now() + after, state.count);
        state.agenda.insert(at, (id.clone(), code));
        if let Some(entry) = state.containers.get_mut(id) {
            entry.planned.push(at);
        }
        self.changed.notify_one();
    }

    fn end(&self, id: &ContainerId, code: i32, oom_killed: bool) {
        let finished_at = self.clock.now();
        let mut state = self.state();
        let Some(entry) = state.containers.get_mut(id) else { return };
        let started_at = match entry.status.state {
            ContainerState::Running { started_at } => Some(started_at),
            ContainerState::Created => None,
            _ => return,
        };
        let signal = (code > 128).then_some(code - 128);
        let exit = Exit { code, signal, oom_killed, started_at, finished_at, message: String::new() };
        entry.status.state = ContainerState::Exited(exit.clone());
        entry.status.pid = None;
        if let Some(over) = entry.over.take() {
            over.send_replace(true);
        }
        let (pod_uid, planned) = (entry.pod_uid.clone(), std::mem::take(&mut entry.planned));
        for at in planned {
            state.agenda.remove(&at);
        }
        drop(state);
        let _ = self.events.send(RuntimeEvent::Exited { container: id.clone(), pod_uid, exit });
    }

    /// Something that turns true when a container is over; `None` when it is.
    fn over(&self, id: &ContainerId) -> Result<Option<watch::Receiver<bool>>, RuntimeError> {
        let mut state = self.state();
        let entry = state.containers.get_mut(id).ok_or_else(|| not_found("container", &id.0))?;
        if matches!(entry.status.state, ContainerState::Exited(_) | ContainerState::Unknown) {
            return Ok(None);
        }
        Ok(Some(entry.over.get_or_insert_with(|| watch::Sender::new(false)).subscribe()))
    }

    fn running(&self, id: &ContainerId) -> Result<ContainerConfig, RuntimeError> {
        let state = self.state();
        let entry = state.containers.get(id).ok_or_else(|| not_found("container", &id.0))?;
        match entry.status.state {
            ContainerState::Running { .. } => Ok(entry.status.config.clone()),
            _ => Err(RuntimeError::Start { reason: format!("container {} is not running", id.0) }),
        }
    }

    fn answer(&self, id: &ContainerId, command: &[String]) -> Result<ExecOutput, RuntimeError> {
        let config = self.running(id)?;
        let answer = self.state().answer.clone();
        answer.map_or_else(
            || Ok(ExecOutput { code: 0, stdout: Vec::new(), stderr: Vec::new() }),
            |answer| answer(&config, command),
        )
    }
}

fn not_found(kind: &str, id: &str) -> RuntimeError {
    RuntimeError::NotFound { what: format!("{kind} {id}") }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    fn version(&self) -> String {
        format!("simulated://{}", env!("CARGO_PKG_VERSION"))
    }

    fn has_network(&self) -> bool {
        false
    }

    fn has_files(&self) -> bool {
        false
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId, RuntimeError> {
        let created_at = self.inner.clock.now();
        let mut state = self.inner.state();
        let attempt = (config.uid.clone(), config.attempt);
        if let Some(id) = state.ready.get(&attempt) {
            return Ok(id.clone());
        }
        state.count += 1;
        let id = SandboxId(format!("{:064x}", state.count));
        state.ready.insert(attempt, id.clone());
        let status = SandboxStatus { id: id.clone(), config, ready: true, created_at };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let containers: Vec<ContainerId> = {
            let mut state = self.inner.state();
            let State { sandboxes, ready, of_sandbox, .. } = &mut *state;
            if let Some(sandbox) = sandboxes.get_mut(id) {
                sandbox.ready = false;
                let attempt = (sandbox.config.uid.clone(), sandbox.config.attempt);
                if ready.get(&attempt) == Some(id) {
                    ready.remove(&attempt);
                }
            }
            of_sandbox.get(id).into_iter().flatten().cloned().collect()
        };
        for container in containers {
            self.inner.end(&container, 137, false);
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.stop_sandbox(id).await?;
        let mut state = self.inner.state();
        for container in state.of_sandbox.remove(id).unwrap_or_default() {
            state.containers.remove(&container);
        }
        state.sandboxes.remove(id);
        Ok(())
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        Ok(self.inner.state().sandboxes.values().cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let created_at = self.inner.clock.now();
        let mut state = self.inner.state();
        let found = state.sandboxes.get(sandbox).filter(|status| status.ready);
        let pod = found.ok_or_else(|| not_found("sandbox", &sandbox.0))?.config.clone();
        let of_image = || Script::of_image(&reference_of(&config.image).unwrap_or_default());
        let labelled = config.labels.get(LABEL).map(|words| Script::of_image(&format!("sim/{words}")));
        let set = state.scripts.get(&(pod.name.clone(), config.name.clone())).cloned();
        let script = set.or(labelled).unwrap_or_else(of_image);
        state.count += 1;
        let id = ContainerId(format!("{:064x}", state.count));
        let status = ContainerStatus {
            id: id.clone(),
            sandbox: sandbox.clone(),
            config,
            state: ContainerState::Created,
            created_at,
            pid: None,
        };
        state.of_sandbox.entry(sandbox.clone()).or_default().insert(id.clone());
        let entry = Entry { status, script, pod_uid: pod.uid, over: None, planned: Vec::new() };
        state.containers.insert(id.clone(), entry);
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let script = {
            let state = self.inner.state();
            let entry = state.containers.get(id).ok_or_else(|| not_found("container", &id.0))?;
            match entry.status.state {
                ContainerState::Created => entry.script.clone(),
                ContainerState::Running { .. } => return Ok(()),
                _ => return Err(RuntimeError::Start { reason: "the container is over".to_owned() }),
            }
        };
        if !script.start_delay.is_zero() {
            tokio::time::sleep(script.start_delay).await;
        }
        if let Some(reason) = script.start_error {
            self.inner.end(id, 128, false);
            return Err(RuntimeError::Start { reason });
        }
        let started_at = self.inner.clock.now();
        let mut state = self.inner.state();
        let entry = state.containers.get_mut(id).ok_or_else(|| not_found("container", &id.0))?;
        if !matches!(entry.status.state, ContainerState::Created) {
            return Ok(());
        }
        entry.status.state = ContainerState::Running { started_at };
        let pod_uid = entry.pod_uid.clone();
        if let Some((after, code)) = script.ends {
            self.inner.plan_end(&mut state, id, after, code);
        }
        drop(state);
        let _ = self.inner.events.send(RuntimeEvent::Started { container: id.clone(), pod_uid });
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let Ok(Some(mut over)) = self.inner.over(id) else { return Ok(()) };
        {
            let mut state = self.inner.state();
            let Some(entry) = state.containers.get(id) else { return Ok(()) };
            let created = matches!(entry.status.state, ContainerState::Created);
            let (after, code) = match entry.script.stop_delay {
                Some(delay) if delay <= grace && !grace.is_zero() && !created => {
                    (delay, entry.script.stop_code)
                }
                _ if created => (Duration::ZERO, 137),
                _ => (grace, 137),
            };
            if !after.is_zero() {
                self.inner.plan_end(&mut state, id, after, code);
            } else {
                drop(state);
                self.inner.end(id, code, false);
            }
        }
        let _ = over.wait_for(|over| *over).await;
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.inner.end(id, 137, false);
        let mut state = self.inner.state();
        if let Some(entry) = state.containers.remove(id)
            && let Some(siblings) = state.of_sandbox.get_mut(&entry.status.sandbox)
        {
            siblings.remove(id);
        }
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError> {
        Ok(self.inner.state().containers.values().map(|entry| entry.status.clone()).collect())
    }

    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError> {
        let state = self.inner.state();
        let entry = state.containers.get(id).ok_or_else(|| not_found("container", &id.0))?;
        Ok(entry.status.clone())
    }

    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        _: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        self.inner.answer(id, &command)
    }

    async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<Session, RuntimeError> {
        let output = self.inner.answer(id, &command)?;
        let code = output.code;
        Ok(Session {
            stdin: streams.stdin.then(|| Box::pin(tokio::io::sink()) as _),
            stdout: streams.stdout.then(|| Box::pin(std::io::Cursor::new(output.stdout)) as _),
            stderr: (streams.stderr && !streams.tty)
                .then(|| Box::pin(std::io::Cursor::new(output.stderr)) as _),
            resize: None,
            ended: Box::pin(async move { Ok(code) }),
        })
    }

    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session, RuntimeError> {
        self.inner.running(id)?;
        let over = self.inner.over(id)?;
        let (inner, id) = (self.inner.clone(), id.clone());
        let ended = async move {
            if let Some(mut over) = over {
                let _ = over.wait_for(|over| *over).await;
            }
            let state = inner.state();
            match state.containers.get(&id).map(|entry| &entry.status.state) {
                Some(ContainerState::Exited(exit)) => Ok(exit.code),
                _ => Err(not_found("container", &id.0)),
            }
        };
        Ok(Session {
            stdin: streams.stdin.then(|| Box::pin(tokio::io::sink()) as _),
            stdout: streams.stdout.then(|| Box::pin(tokio::io::empty().take(0)) as _),
            stderr: (streams.stderr && !streams.tty).then(|| Box::pin(tokio::io::empty().take(0)) as _),
            resize: None,
            ended: Box::pin(ended),
        })
    }
}
