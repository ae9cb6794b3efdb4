//! What to do next for one pod: pure, from its view and the present moment.
//!
//! [`plan`] never waits, reads a clock or a file; what it wants done are [`Action`]s for
//! [`crate::execute`], and what it waits for is in [`PodPlan::waiting_on`].
//!
//! Read next: [`crate::view`] (what it looks at), [`crate::status`] (what the API is told).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodStatus};
use runtime::api::ContainerId;

use crate::status;
use crate::view::{Backoff, ContainerView, Key, PodView, ProbeKind, Retry, is_sidecar};

/// First pause between two starts of a container that ends too soon.
pub const RESTART_BACKOFF_SECONDS_MIN: i64 = 10;
/// Longest such pause.
pub const RESTART_BACKOFF_SECONDS_MAX: i64 = 300;
/// A container that ran this long without the pause growing begins at the first pause again.
pub const RESTART_BACKOFF_RESET_SECONDS: i64 = 600;
/// A status that could not be written so often does not keep the object from being deleted.
const STATUS_TRIES_BEFORE_FORGET: u32 = 4;
/// Grace of a pod whose object vanished: its owner asked for no grace.
const VANISHED_GRACE_SECONDS: i64 = 1;

/// One thing to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Mount what is not mounted, and refresh what came from the API.
    MountVolumes,
    /// Make network and sandbox.
    RunSandbox,
    /// Pull if needed, create and start.
    Start {
        /// Which container.
        container: String,
        /// Its restart count.
        attempt: u32,
    },
    /// Run the `postStart` hook.
    PostStart {
        /// Which container.
        container: String,
        /// Its instance.
        id: ContainerId,
    },
    /// Run the `preStop` hook and stop.
    Stop {
        /// Which container.
        container: String,
        /// Its instance.
        id: ContainerId,
        /// Time until SIGKILL, hook included.
        grace: Duration,
        /// Text of the `Killing` event.
        message: String,
    },
    /// Shorten a stop that is under way.
    Kill {
        /// Which container.
        container: String,
        /// Its instance.
        id: ContainerId,
        /// Time until SIGKILL.
        grace: Duration,
    },
    /// Probe once.
    Probe {
        /// Which container.
        container: String,
        /// Its instance.
        id: ContainerId,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Remove sandbox, network, volumes and mounts.
    TearDown,
    /// Remove logs, and the object if the API still has it.
    Forget {
        /// The object is to be removed.
        delete_object: bool,
    },
}

impl Action {
    /// What must not be under way at the same time.
    pub fn key(&self) -> Key {
        match self {
            Action::MountVolumes => Key::Volumes,
            Action::RunSandbox | Action::TearDown => Key::Sandbox,
            Action::Start { container, .. } | Action::Stop { container, .. } => {
                Key::Container(container.clone())
            }
            Action::PostStart { container, .. } => Key::Hook(container.clone()),
            Action::Kill { container, .. } => Key::Kill(container.clone()),
            Action::Probe { container, kind, .. } => Key::Probe(container.clone(), *kind),
            Action::Forget { .. } => Key::Forget,
        }
    }
}

/// What a pod waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingOn {
    /// An earlier pod of the same name is not down yet.
    Predecessor {
        /// Its uid.
        uid: String,
    },
    /// Volumes could not be mounted.
    Volumes {
        /// Why.
        message: String,
    },
    /// Network or sandbox could not be made.
    Sandbox {
        /// Why.
        message: String,
    },
    /// An init container has not finished, or a sidecar not started.
    Init {
        /// Which.
        container: String,
    },
    /// A container may not start again yet.
    Backoff {
        /// Which.
        container: String,
        /// When it may.
        until: Timestamp,
    },
    /// Containers have not ended yet.
    Containers {
        /// Which.
        names: Vec<String>,
    },
}

impl fmt::Display for WaitingOn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitingOn::Predecessor { uid } => {
                write!(formatter, "the earlier pod of this name ({uid}) to be down")
            }
            WaitingOn::Volumes { message } => write!(formatter, "its volumes: {message}"),
            WaitingOn::Sandbox { message } => write!(formatter, "its sandbox: {message}"),
            WaitingOn::Init { container } => write!(formatter, "init container {container}"),
            WaitingOn::Backoff { container, until } => {
                write!(formatter, "the back-off of container {container} until {until}")
            }
            WaitingOn::Containers { names } => write!(formatter, "containers to end: {}", names.join(", ")),
        }
    }
}

/// What to do, what to say and when to look again.
#[derive(Debug, Clone)]
pub struct PodPlan {
    /// To be done now, side by side.
    pub actions: Vec<Action>,
    /// What the API is to show.
    pub status: PodStatus,
    /// Look again at this moment even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Why nothing more is done now.
    pub waiting_on: Vec<WaitingOn>,
}

/// Decides what to do for a pod.
pub fn plan(view: &PodView, now: Timestamp) -> PodPlan {
    let mut planner = Planner { view, now, actions: Vec::new(), wake_at: None, waiting_on: Vec::new() };
    if must_end(view, now) {
        planner.end();
    } else {
        planner.run();
    }
    let status = status::of(view, now, &planner.crash_waits());
    // The last state is told before the object goes, unless telling it keeps failing.
    let told = status == view.written
        || view.status_retry.as_ref().is_some_and(|retry| retry.failures >= STATUS_TRIES_BEFORE_FORGET);
    planner.actions.retain(|action| told || !matches!(action, Action::Forget { delete_object: true }));
    PodPlan { actions: planner.actions, status, wake_at: planner.wake_at, waiting_on: planner.waiting_on }
}

/// True when nothing of the pod may run any more.
pub fn must_end(view: &PodView, now: Timestamp) -> bool {
    view.gone
        || view.torn_down
        || view.over_at_start
        || view.rejected.is_some()
        || view.terminating_since.is_some()
        || view.pod.metadata.deletion_timestamp.is_some()
        || deadline(view).is_some_and(|deadline| now >= deadline)
        || is_finished(view)
}

/// When `activeDeadlineSeconds` is over.
pub fn deadline(view: &PodView) -> Option<Timestamp> {
    let seconds = view.spec()?.active_deadline_seconds?;
    view.start_time.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// True when no container of the pod will run again.
pub fn is_finished(view: &PodView) -> bool {
    let Some(spec) = view.spec() else {
        return true;
    };
    let policy = view.restart_policy();
    let init_failed = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| !is_sidecar(container) && policy == "Never")
        .any(|container| view.container(&container.name).exited().is_some_and(|exit| exit.exit_code != 0));
    let over = |container: &Container| {
        let exit = view.container(&container.name).exited();
        exit.is_some_and(|exit| !is_started_again(policy, exit.exit_code))
    };
    init_failed || spec.containers.iter().all(over)
}

/// The policy that a container is restarted by: its pod's, or what its place among the init containers means.
pub fn restart_policy_of<'view>(view: &'view PodView, container: &Container) -> &'view str {
    let is_init = || {
        let mut init = view.spec().into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
        init.any(|other| other.name == container.name)
    };
    match view.restart_policy() {
        _ if is_sidecar(container) => "Always",
        "Always" if is_init() => "OnFailure",
        policy => policy,
    }
}

/// True if a container that ended so is started again.
pub fn is_started_again(policy: &str, exit_code: i32) -> bool {
    !(policy == "Never" || (policy == "OnFailure" && exit_code == 0))
}

/// The back-off that a container gets when it is started now, after it ended.
pub fn next_backoff(backoff: Option<Backoff>, now: Timestamp) -> Backoff {
    let delay_seconds = match backoff {
        Some(backoff) if now.duration_since(backoff.updated).as_secs() <= RESTART_BACKOFF_RESET_SECONDS => {
            (backoff.delay_seconds * 2).min(RESTART_BACKOFF_SECONDS_MAX)
        }
        _ => RESTART_BACKOFF_SECONDS_MIN,
    };
    Backoff { delay_seconds, updated: now }
}

/// Until when a container that ended may not be started again.
pub fn restart_not_before(container: &ContainerView) -> Option<Timestamp> {
    let backoff = container.backoff?;
    let finished = container.exited()?.finished_at.as_ref()?.0;
    if finished.duration_since(backoff.updated).as_secs() > RESTART_BACKOFF_RESET_SECONDS {
        return None;
    }
    finished.checked_add(SignedDuration::from_secs(backoff.delay_seconds)).ok()
}

struct Planner<'view> {
    view: &'view PodView,
    now: Timestamp,
    actions: Vec<Action>,
    wake_at: Option<Timestamp>,
    waiting_on: Vec<WaitingOn>,
}

impl Planner<'_> {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Adds an action unless the same thing is under way.
    fn act(&mut self, action: Action) {
        if !self.view.in_flight.contains(&action.key()) {
            self.actions.push(action);
        }
    }

    /// True when what failed may be tried again; asks to be woken otherwise.
    fn may_retry(&mut self, retry: Option<&Retry>) -> bool {
        match retry {
            Some(retry) if retry.not_before > self.now => {
                self.wake(retry.not_before);
                false
            }
            _ => true,
        }
    }

    /// True while a stop that failed is not to be tried again.
    fn must_wait(&mut self, state: &ContainerView) -> bool {
        match state.not_before {
            Some(until) if until > self.now => {
                self.wake(until);
                true
            }
            _ => false,
        }
    }

    fn run(&mut self) {
        let view = self.view;
        let Some(spec) = view.spec() else {
            return;
        };
        if let Some(deadline) = deadline(view) {
            self.wake(deadline);
        }
        if let Some(uid) = &view.predecessor {
            self.waiting_on.push(WaitingOn::Predecessor { uid: uid.clone() });
            return;
        }
        if let Some(retry) = &view.volumes.retry {
            self.waiting_on.push(WaitingOn::Volumes { message: retry.message.clone() });
        }
        if (view.volumes.mounted.is_none() || view.volumes.stale)
            && self.may_retry(view.volumes.retry.as_ref())
        {
            self.act(Action::MountVolumes);
        }
        if view.volumes.mounted.is_none() {
            return;
        }
        if view.sandbox.is_none() {
            if let Some(retry) = &view.sandbox_retry {
                self.waiting_on.push(WaitingOn::Sandbox { message: retry.message.clone() });
            }
            if self.may_retry(view.sandbox_retry.as_ref()) {
                self.act(Action::RunSandbox);
            }
            return;
        }
        if self.run_init(spec) {
            for container in &spec.containers {
                self.run_container(container);
            }
        }
    }

    /// Brings the init containers forward; true when the others may run.
    fn run_init(&mut self, spec: &PodSpec) -> bool {
        let view = self.view;
        let others_began =
            spec.containers.iter().any(|container| view.container(&container.name).current.is_some());
        for container in spec.init_containers.iter().flatten() {
            let state = view.container(&container.name);
            if is_sidecar(container) {
                self.run_container(container);
                if !others_began && !state.is_started(container) {
                    self.waiting_on.push(WaitingOn::Init { container: container.name.clone() });
                    return false;
                }
            } else if !others_began && state.exited().is_none_or(|exit| exit.exit_code != 0) {
                self.run_container(container);
                self.waiting_on.push(WaitingOn::Init { container: container.name.clone() });
                return false;
            }
        }
        true
    }

    /// Keeps one container as its policy wants it.
    fn run_container(&mut self, container: &Container) {
        let policy = restart_policy_of(self.view, container);
        let state = self.view.container(&container.name);
        if state.running_since().is_some() {
            self.tend(container, state);
            return;
        }
        let mut attempt = state.restart_count;
        if let Some(exit) = state.exited() {
            if !is_started_again(policy, exit.exit_code) {
                return;
            }
            attempt += 1;
        }
        let until = state.not_before.max(restart_not_before(state));
        match until {
            Some(until) if until > self.now => {
                self.wake(until);
                self.waiting_on.push(WaitingOn::Backoff { container: container.name.clone(), until });
            }
            _ => self.act(Action::Start { container: container.name.clone(), attempt }),
        }
    }

    /// Looks after a running container: hook, probes, and stopping it when a probe says so.
    fn tend(&mut self, container: &Container, state: &ContainerView) {
        let Some(current) = &state.current else {
            return;
        };
        let name = &container.name;
        if let Some(message) = &state.kill {
            if self.must_wait(state) {
                return;
            }
            let seconds = container
                .liveness_probe
                .as_ref()
                .and_then(|probe| probe.termination_grace_period_seconds)
                .unwrap_or_else(|| grace_seconds(self.view));
            self.act(Action::Stop {
                container: name.clone(),
                id: current.id.clone(),
                grace: seconds_duration(seconds),
                message: message.clone(),
            });
            return;
        }
        if !current.post_started {
            self.act(Action::PostStart { container: name.clone(), id: current.id.clone() });
        }
        for kind in ProbeKind::ALL {
            let Some(probe) = state.probes.get(&kind) else {
                continue;
            };
            let startup_open = container.startup_probe.is_some()
                && state.probes.get(&ProbeKind::Startup).is_none_or(|probe| probe.passed != Some(true));
            let wanted = if kind == ProbeKind::Startup { startup_open } else { !startup_open };
            let key = Key::Probe(name.clone(), kind);
            if !wanted || self.view.in_flight.contains(&key) {
                continue;
            }
            if probe.due > self.now {
                self.wake(probe.due);
            } else {
                self.act(Action::Probe { container: name.clone(), id: current.id.clone(), kind });
            }
        }
    }

    fn end(&mut self) {
        let view = self.view;
        if view.torn_down {
            let deleting = view.pod.metadata.deletion_timestamp.is_some();
            if (deleting || view.gone) && self.may_retry(view.forget_retry.as_ref()) {
                self.act(Action::Forget { delete_object: !view.gone });
            }
            return;
        }
        let since = view.terminating_since.unwrap_or(self.now);
        let grace = if view.gone { VANISHED_GRACE_SECONDS } else { grace_seconds(view) };
        let until = since.checked_add(SignedDuration::from_secs(grace)).unwrap_or(since);
        let until = if view.gone { until.max(self.now) } else { until };
        let sidecars: Vec<&str> = view
            .spec()
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .filter(|container| is_sidecar(container))
            .map(|container| container.name.as_str())
            .collect();
        let running: BTreeMap<&str, &ContainerView> = view
            .containers
            .iter()
            .filter(|(name, state)| {
                // A start under way may still bring up an instance: it is waited for, then stopped.
                state.running_since().is_some() || view.in_flight.contains(&Key::Container((*name).clone()))
            })
            .map(|(name, state)| (name.as_str(), state))
            .collect();
        let mains: Vec<&str> = running.keys().copied().filter(|name| !sidecars.contains(name)).collect();
        // Sidecars serve the others to their end and go last, in reverse order.
        let to_stop: Vec<&str> = if mains.is_empty() {
            sidecars.iter().rev().copied().filter(|name| running.contains_key(name)).take(1).collect()
        } else {
            mains
        };
        for name in to_stop {
            self.stop(name, running[name], until);
        }
        if !running.is_empty() {
            let names = running.keys().map(|name| (*name).to_owned()).collect();
            self.waiting_on.push(WaitingOn::Containers { names });
            return;
        }
        if view.in_flight.contains(&Key::Volumes) {
            return;
        }
        if self.may_retry(view.teardown_retry.as_ref()) {
            self.act(Action::TearDown);
        }
    }

    fn stop(&mut self, name: &str, state: &ContainerView, until: Timestamp) {
        let Some(current) = &state.current else {
            return;
        };
        if state.running_since().is_none() || self.must_wait(state) {
            return;
        }
        let grace = Duration::try_from(until.duration_since(self.now)).unwrap_or(Duration::ZERO);
        let (container, id) = (name.to_owned(), current.id.clone());
        match state.stop_deadline {
            Some(deadline) if deadline > until + SignedDuration::from_millis(500) => {
                self.act(Action::Kill { container, id, grace });
            }
            _ => {
                let message = format!("Stopping container {name}");
                self.act(Action::Stop { container, id, grace, message });
            }
        }
    }

    /// Containers whose restart waits, with the message their status shows.
    fn crash_waits(&self) -> BTreeMap<String, String> {
        let view = self.view;
        if must_end(view, self.now) {
            return BTreeMap::new();
        }
        let mut waits = BTreeMap::new();
        for (name, state) in &view.containers {
            let waits_for_restart = self
                .waiting_on
                .iter()
                .any(|waiting| matches!(waiting, WaitingOn::Backoff { container, .. } if container == name));
            if state.exited().is_some() && waits_for_restart {
                let delay =
                    state.backoff.map_or(RESTART_BACKOFF_SECONDS_MIN, |backoff| backoff.delay_seconds);
                waits.insert(name.clone(), crash_message(view, name, delay));
            }
        }
        waits
    }
}

fn crash_message(view: &PodView, container: &str, delay_seconds: i64) -> String {
    let delay = match (delay_seconds / 60, delay_seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    };
    format!(
        "back-off {delay} restarting failed container={container} pod={}_{}({})",
        view.name(),
        view.namespace(),
        view.uid
    )
}

/// Seconds that the pod's containers get to end by themselves.
pub fn grace_seconds(view: &PodView) -> i64 {
    let own = view.spec().and_then(|spec| spec.termination_grace_period_seconds);
    view.pod.metadata.deletion_grace_period_seconds.or(own).unwrap_or(30).max(0)
}

fn seconds_duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
