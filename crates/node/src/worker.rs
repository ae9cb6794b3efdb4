//! One pod in the agent's loop: its view, and how outcomes change it.
//!
//! Synchronous; it must never wait. What changes here is read by [`crate::plan`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, PodStatus};
use runtime::api::ContainerId;
use tokio_util::sync::CancellationToken;

use crate::directory::Entry;
use crate::execute::Outcome;
use crate::plan::{is_started_again, next_backoff, restart_policy_of};
use crate::probe::{self, Verdict, container_of};
use crate::start::{StartFailure, Started};
use crate::view::{ContainerView, Instance, InstanceState, Key, PodView, ProbeKind, Retry, Waiting};

/// Pause after a first failure of something that is tried again.
const RETRY_MS_MIN: i64 = 200;
/// Longest such pause.
const RETRY_MS_MAX: i64 = 60_000;
/// Pause before a container that could not be configured is tried again; a change of what it refers to
/// wakes it sooner.
const CONFIG_RETRY_SECONDS: i64 = 10;
/// First and longest pause between two pulls that fail.
const PULL_BACKOFF_SECONDS_MIN: i64 = 10;
const PULL_BACKOFF_SECONDS_MAX: i64 = 300;
/// Pause before a stop that failed is tried again.
const STOP_RETRY_SECONDS: i64 = 1;

/// Longest time that a status is kept back which says no more than how far the start of a pod has come. Most
/// pods run by then and never tell it: that is one write in three, when a thousand start at once.
const PROGRESS_HOLD_MS: i64 = 500;
/// Longest time that what others may wait for is kept back while a start goes on: enough for what comes of
/// the same moment (containers that start side by side) to be told in one write.
const AWAITED_HOLD_MS: i64 = 10;

/// Something to be told as an event, found while applying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) container: String,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// One pod.
pub(crate) struct Worker {
    pub(crate) view: PodView,
    /// When the loop looks at it next by itself.
    pub(crate) wake_at: Option<Timestamp>,
    /// Ends of instances that are not known to have started yet.
    pub(crate) early_exits: HashMap<ContainerId, ContainerStateTerminated>,
    /// It counts in what the node has given away.
    pub(crate) counted: bool,
    /// The last traces are gone.
    pub(crate) forgotten: bool,
    /// Cancelled when the pod has to go.
    pub(crate) ending: CancellationToken,
    /// Until when a status that only shows progress is kept back.
    pub(crate) held_until: Option<Timestamp>,
    /// Containers whose start was under way when images came.
    images_came: BTreeSet<String>,
}

impl Worker {
    pub(crate) fn new(view: PodView) -> Worker {
        Worker {
            view,
            wake_at: None,
            early_exits: HashMap::new(),
            counted: false,
            forgotten: false,
            ending: CancellationToken::new(),
            held_until: None,
            images_came: BTreeSet::new(),
        }
    }

    /// Until when a status is to be kept back, because a step that is under way will soon say more: a pod
    /// that starts quickly is then written once.
    pub(crate) fn hold(&mut self, status: &PodStatus, now: Timestamp) -> Option<Timestamp> {
        let step = |key: &Key| matches!(key, Key::Volumes | Key::Sandbox | Key::Container(_));
        let starting = status.phase.as_deref() == Some("Pending")
            && self.view.terminating_since.is_none()
            && self.view.in_flight.iter().any(step);
        if !starting {
            return None;
        }
        let awaited = crate::status::is_awaited(&self.view.written, status);
        let hold_ms = if awaited { AWAITED_HOLD_MS } else { PROGRESS_HOLD_MS };
        let latest = now + SignedDuration::from_millis(hold_ms);
        Some(*self.held_until.insert(self.held_until.map_or(latest, |until| until.min(latest))))
    }

    /// What the gateway looks up.
    pub(crate) fn entries(&self) -> BTreeMap<String, Entry> {
        let entry = |(name, state): (&String, &ContainerView)| {
            let id = state.current.as_ref()?.id.clone();
            let running = state.running_since().is_some();
            let again =
                state.exited().zip(container_of(&self.view, name)).is_some_and(|(exit, container)| {
                    let policy = restart_policy_of(&self.view, container);
                    self.view.terminating_since.is_none() && is_started_again(policy, exit.exit_code)
                });
            let attempt = state.restart_count;
            let former = if again { Some(attempt) } else { attempt.checked_sub(1) };
            Some((name.clone(), Entry { id, attempt, running, former }))
        };
        self.view.containers.iter().filter_map(entry).collect()
    }

    /// Takes in what came of an action, or of the runtime's own accord.
    pub(crate) fn apply(&mut self, outcome: Outcome, now: Timestamp) -> Vec<Notice> {
        let view = &mut self.view;
        match outcome {
            Outcome::Volumes(Ok(mounted)) => {
                view.volumes.mounted = Some(Arc::new(mounted));
                view.volumes.retry = None;
            }
            Outcome::Volumes(Err(message)) => {
                view.volumes.retry = Some(retry(view.volumes.retry.as_ref(), message, now));
                view.volumes.stale |= view.volumes.mounted.is_some();
            }
            Outcome::Sandbox(Ok((id, addresses))) => {
                view.sandbox = Some(id);
                view.addresses = addresses;
                view.broken_sandboxes.clear();
                view.sandbox_retry = None;
            }
            Outcome::Sandbox(Err(message)) => {
                view.sandbox_retry = Some(retry(view.sandbox_retry.as_ref(), message, now));
            }
            Outcome::Started { container, attempt, result: Ok(started) } => {
                self.started(&container, attempt, started, now);
            }
            Outcome::Started { container, attempt, result: Err(failure) } => {
                self.not_started(&container, attempt, failure, now);
            }
            Outcome::PostStarted { container, id, result } => {
                let state = view.containers.entry(container.clone()).or_default();
                if let Some(current) = state.current.as_mut().filter(|current| current.id == id) {
                    match result {
                        Ok(()) => current.post_started = true,
                        Err(_) => state.kill = Some("FailedPostStartHook".to_owned()),
                    }
                }
            }
            Outcome::StopFailed { container, reason } => {
                tracing::warn!(pod = view.name(), container, "a container was not stopped: {reason}");
                let state = view.containers.entry(container).or_default();
                state.not_before = Some(now + SignedDuration::from_secs(STOP_RETRY_SECONDS));
                state.stop_deadline = None;
            }
            Outcome::Killed | Outcome::GaveUp => {}
            Outcome::Probed { container, id, kind, result } => {
                return self.probed(&container, &id, kind, result, now);
            }
            Outcome::Exited { container, id, terminated } => self.exited(&container, id, terminated),
            Outcome::TornDown(Ok(())) => {
                view.torn_down = true;
                view.sandbox = None;
                view.broken_sandboxes.clear();
                view.teardown_retry = None;
            }
            Outcome::TornDown(Err(message)) => {
                tracing::warn!(pod = view.name(), "a pod was not taken down: {message}");
                view.teardown_retry = Some(retry(view.teardown_retry.as_ref(), message, now));
            }
            Outcome::Forgotten(Ok(())) => self.forgotten = true,
            Outcome::Forgotten(Err(message)) => {
                tracing::warn!(pod = view.name(), "a pod was not forgotten: {message}");
                view.forget_retry = Some(retry(view.forget_retry.as_ref(), message, now));
            }
            Outcome::StatusWritten(status, Ok(())) => {
                view.written = status;
                view.status_retry = None;
                return self.after_status();
            }
            Outcome::StatusWritten(_, Err(status)) => {
                tracing::debug!(pod = view.name(), "a status was not written: {status}");
                view.status_retry = Some(retry(view.status_retry.as_ref(), status.message, now));
            }
        }
        Vec::new()
    }

    fn started(&mut self, name: &str, attempt: u32, started: Started, now: Timestamp) {
        let Some(container) = container_of(&self.view, name).cloned() else {
            return;
        };
        let early = self.early_exits.remove(&started.id);
        self.images_came.remove(name);
        let state = self.view.containers.entry(name.to_owned()).or_default();
        replace(state, attempt, now);
        let instance = Instance {
            id: started.id,
            state: early.map_or(started.state, InstanceState::Exited),
            post_started: !has_post_start(&container),
            image_id: started.image_id,
        };
        state.begin(&container, instance, now);
    }

    fn not_started(&mut self, name: &str, attempt: u32, failure: StartFailure, now: Timestamp) {
        let state = self.view.containers.entry(name.to_owned()).or_default();
        if let Some((id, terminated)) = failure.instance {
            replace(state, attempt, now);
            state.current = Some(Instance {
                id,
                state: InstanceState::Exited(terminated),
                post_started: true,
                image_id: String::new(),
            });
            state.not_before = None;
        } else if failure.image {
            state.pull_failures = state.pull_failures.saturating_add(1);
            let doubled = PULL_BACKOFF_SECONDS_MIN << (state.pull_failures - 1).min(5);
            let seconds = doubled.min(PULL_BACKOFF_SECONDS_MAX);
            let again = self.images_came.contains(name);
            state.not_before = (!again).then_some(now + SignedDuration::from_secs(seconds));
        } else {
            state.not_before = Some(now + SignedDuration::from_secs(CONFIG_RETRY_SECONDS));
        }
        state.waiting = Some(failure.waiting);
        self.images_came.remove(name);
    }

    /// Ends the back-off of containers that have no image; true when there was one.
    pub(crate) fn pull_again(&mut self) -> bool {
        let mut some = false;
        for state in self.view.containers.values_mut() {
            let reason = state.waiting.as_ref().map(|waiting| waiting.reason.as_str());
            if matches!(reason, Some("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull")) {
                state.not_before = None;
                some = true;
            }
        }
        // A pull that is under way may be of one of them, and fail only later.
        let starting = self.view.in_flight.iter().filter_map(|key| match key {
            Key::Container(name) => Some(name.clone()),
            _ => None,
        });
        self.images_came.extend(starting);
        some
    }

    fn exited(&mut self, name: &str, id: ContainerId, terminated: ContainerStateTerminated) {
        let known = self
            .view
            .containers
            .values_mut()
            .find(|state| state.current.as_ref().is_some_and(|current| current.id == id));
        if let Some(state) = known {
            if state.running_since().is_some()
                && let Some(current) = &mut state.current
            {
                current.state = InstanceState::Exited(terminated);
                state.kill = None;
                state.stop_deadline = None;
                state.not_before = None;
                state.probes.clear();
            }
            return;
        }
        // Its start is still being reported.
        let starting =
            |key: &Key| matches!(key, Key::Container(starting) if name.is_empty() || starting == name);
        if self.view.in_flight.iter().any(starting) {
            self.early_exits.insert(id, terminated);
        }
    }

    fn probed(
        &mut self,
        name: &str,
        id: &ContainerId,
        kind: ProbeKind,
        result: Result<(), String>,
        now: Timestamp,
    ) -> Vec<Notice> {
        let Some(container) = container_of(&self.view, name).cloned() else {
            return Vec::new();
        };
        let Some(probe) = kind.of(&container) else {
            return Vec::new();
        };
        let Some(state) = self.view.containers.get_mut(name) else {
            return Vec::new();
        };
        let same = state.current.as_ref().is_some_and(|current| &current.id == id);
        let Some(view) = state.probes.get_mut(&kind).filter(|_| same) else {
            return Vec::new();
        };
        let passed = result.is_ok();
        let said = probe::verdict(view, probe, passed, now);
        if kind == ProbeKind::Startup && view.passed == Some(true) {
            // The others begin when this one is done.
            for (other, view) in &mut state.probes {
                if *other != ProbeKind::Startup {
                    view.due = view.due.max(now);
                    view.counted = view.counted.max(now);
                }
            }
        }
        let Err(output) = result else {
            return Vec::new();
        };
        let mut notices = Vec::new();
        if said != Verdict::Unchanged {
            notices.push(Notice {
                container: name.to_owned(),
                warning: true,
                reason: "Unhealthy",
                message: format!("{} probe failed: {output}", kind.text()),
            });
        }
        if said == Verdict::GaveUp && kind != ProbeKind::Readiness {
            let which = kind.text().to_lowercase();
            state.kill = Some(format!("Container {name} failed {which} probe, will be restarted"));
        }
        notices
    }

    /// What the API has been told about failed pulls and starts turns into waiting.
    fn after_status(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        let images: BTreeMap<String, String> = self
            .view
            .spec()
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
            .map(|container| (container.name.clone(), container.image.clone().unwrap_or_default()))
            .collect();
        for (name, state) in &mut self.view.containers {
            match &state.waiting {
                Some(waiting) if waiting.reason == "ErrImagePull" => {
                    let image = images.get(name).cloned().unwrap_or_default();
                    let message = format!("Back-off pulling image {image:?}");
                    let mut notice = |warning, reason, message: String| {
                        notices.push(Notice { container: name.clone(), warning, reason, message });
                    };
                    notice(false, "BackOff", message.clone());
                    notice(true, "Failed", "Error: ImagePullBackOff".to_owned());
                    state.waiting = Some(Waiting {
                        reason: "ImagePullBackOff".to_owned(),
                        message: format!("{message}: ErrImagePull: {}", waiting.message),
                    });
                }
                Some(waiting) if waiting.reason == "RunContainerError" => state.waiting = None,
                _ => {}
            }
        }
        notices
    }
}

/// The next instance takes the place of the one that ended.
fn replace(state: &mut ContainerView, attempt: u32, now: Timestamp) {
    if let Some(ended) = state.current.take() {
        if let InstanceState::Exited(terminated) = ended.state {
            state.last = Some(terminated);
        }
        state.previous = Some(ended.id);
        state.backoff = Some(next_backoff(state.backoff, now));
    }
    state.restart_count = attempt;
}

/// True if the container has a `postStart` hook.
pub(crate) fn has_post_start(container: &Container) -> bool {
    container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some())
}

/// The pause after one more failure: it doubles.
pub(crate) fn retry(before: Option<&Retry>, message: String, now: Timestamp) -> Retry {
    let failures = before.map_or(0, |retry| retry.failures).saturating_add(1);
    let pause_ms = RETRY_MS_MIN.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_MS_MAX);
    Retry { failures, not_before: now + SignedDuration::from_millis(pause_ms), message }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::status;

    #[test]
    fn an_address_is_told_sooner_than_progress_and_readiness_at_once() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("valid");
        let at = |milliseconds: i64| now + SignedDuration::from_millis(milliseconds);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        }))
        .expect("a pod");
        let mut worker = Worker::new(PodView::new(Arc::new(pod), "192.0.2.1", now));
        let hold = |worker: &mut Worker, at: Timestamp| {
            let status = status::of(&worker.view, at, &BTreeMap::new());
            assert_ne!(status, worker.view.written);
            worker.hold(&status, at)
        };
        worker.view.in_flight.insert(Key::Sandbox);
        assert_eq!(hold(&mut worker, at(0)), Some(at(500)), "it is only being started");
        worker.view.in_flight = [Key::Container("a".to_owned()), Key::Container("b".to_owned())].into();
        worker.view.addresses = vec!["10.244.0.5".parse().expect("valid")];
        assert_eq!(hold(&mut worker, at(20)), Some(at(30)), "it has an address");
        assert_eq!(hold(&mut worker, at(25)), Some(at(30)), "what comes later does not put it off");
        worker.view.in_flight.remove(&Key::Container("a".to_owned()));
        worker.view.in_flight.remove(&Key::Container("b".to_owned()));
        assert_eq!(hold(&mut worker, at(26)), None, "nothing more is to come");
    }
}
