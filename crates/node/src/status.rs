//! What the API is told about a pod: pure, from its view.
//!
//! Phases, conditions and reasons are those that clients of Kubernetes know. Conditions of other writers
//! (the scheduler's, readiness gates') are carried over as they are.
//!
//! Read next: [`crate::plan`], which calls [`of`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::plan;
use crate::view::{ContainerView, InstanceState, PodView, is_sidecar};

const OWN_CONDITIONS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// The status of a pod. `crash_waits` names containers that wait to be restarted, with the message.
pub fn of(view: &PodView, now: Timestamp, crash_waits: &BTreeMap<String, String>) -> PodStatus {
    let mut status = view.pod.status.clone().unwrap_or_default();
    if view.over_at_start {
        return view.written.clone();
    }
    let Some(spec) = view.spec() else {
        return status;
    };
    status.host_ip = Some(view.host_ip.clone());
    status.host_ips = Some(vec![HostIP { ip: view.host_ip.clone() }]);
    status.start_time = Some(Time(view.start_time));
    if status.qos_class.is_none() {
        status.qos_class = Some(crate::resources::qos_class(spec).to_owned());
    }
    if let Some(rejection) = &view.rejected {
        status.phase = Some("Failed".to_owned());
        status.reason = Some(rejection.reason.clone());
        status.message = Some(format!("Pod was rejected: {}", rejection.message));
        whole_seconds(&mut status);
        return status;
    }
    let addresses: Vec<PodIP> =
        view.addresses.iter().map(|address| PodIP { ip: address.to_string() }).collect();
    if !addresses.is_empty() {
        status.pod_ip = addresses.first().map(|first| first.ip.clone());
        status.pod_ips = Some(addresses);
    }
    let initialized = is_initialized(view, spec);
    let render =
        |container: &Container, init: bool| container_status(view, container, init, initialized, crash_waits);
    let mut containers: Vec<ContainerStatus> =
        spec.containers.iter().map(|container| render(container, false)).collect();
    containers.sort_by(|left, right| left.name.cmp(&right.name));
    status.container_statuses = Some(containers);
    status.init_container_statuses = spec
        .init_containers
        .as_ref()
        .filter(|list| !list.is_empty())
        .map(|list| list.iter().map(|container| render(container, true)).collect());
    let expired = plan::deadline(view).is_some_and(|deadline| now >= deadline);
    if expired {
        status.reason = Some("DeadlineExceeded".to_owned());
        status.message = Some("Pod was active on the node longer than the specified deadline".to_owned());
    }
    let phase = if expired { "Failed" } else { phase(view, spec, now) };
    status.phase = Some(phase.to_owned());
    status.observed_generation = view.pod.metadata.generation;
    status.conditions = Some(conditions(view, spec, phase, initialized, now));
    whole_seconds(&mut status);
    status
}

/// True if others may wait for what a status says and the one before did not: the phase, an address,
/// readiness, where a container stands. The rest is how far a start has come.
pub fn is_awaited(before: &PodStatus, after: &PodStatus) -> bool {
    before.phase.as_deref().unwrap_or("Pending") != after.phase.as_deref().unwrap_or("Pending")
        || before.pod_ip != after.pod_ip
        || is_ready(before) != is_ready(after)
        || stands(&before.container_statuses) != stands(&after.container_statuses)
        || stands(&before.init_container_statuses) != stands(&after.init_container_statuses)
}

fn is_ready(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Where containers stand; one that simply was not started yet is not worth a word.
fn stands(containers: &Option<Vec<ContainerStatus>>) -> Vec<(&str, Option<&str>, bool, bool)> {
    containers
        .iter()
        .flatten()
        .filter_map(|container| {
            let state = container.state.as_ref()?;
            let waits = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
            let is_new = matches!(waits, Some("ContainerCreating" | "PodInitializing"));
            let (runs, is_over) = (state.running.is_some(), state.terminated.is_some());
            (!is_new).then_some((container.name.as_str(), waits, runs, is_over))
        })
        .collect()
}

/// Cuts times to whole seconds, as the API keeps them: what is compared with the API's answer must not
/// differ in what it cannot hold, or it would be written again.
fn whole_seconds(status: &mut PodStatus) {
    let cut = |time: &mut Option<Time>| {
        if let Some(time) = time {
            time.0 = Timestamp::from_second(time.0.as_second()).unwrap_or(time.0);
        }
    };
    cut(&mut status.start_time);
    for condition in status.conditions.iter_mut().flatten() {
        cut(&mut condition.last_transition_time);
        cut(&mut condition.last_probe_time);
    }
    let lists = [&mut status.container_statuses, &mut status.init_container_statuses];
    for container in lists.into_iter().flat_map(|list| list.iter_mut().flatten()) {
        for state in [&mut container.state, &mut container.last_state].into_iter().flatten() {
            if let Some(running) = &mut state.running {
                cut(&mut running.started_at);
            }
            if let Some(terminated) = &mut state.terminated {
                cut(&mut terminated.started_at);
                cut(&mut terminated.finished_at);
            }
        }
    }
}

/// True when every init container has done its work.
pub fn is_initialized(view: &PodView, spec: &PodSpec) -> bool {
    if spec.containers.iter().any(|container| view.container(&container.name).current.is_some()) {
        return true;
    }
    spec.init_containers.iter().flatten().all(|container| {
        let state = view.container(&container.name);
        if is_sidecar(container) {
            state.is_started(container)
        } else {
            state.exited().is_some_and(|exit| exit.exit_code == 0)
        }
    })
}

fn phase(view: &PodView, spec: &PodSpec, now: Timestamp) -> &'static str {
    let policy = view.restart_policy();
    let exits: Vec<Option<&ContainerStateTerminated>> =
        spec.containers.iter().map(|container| view.container(&container.name).exited()).collect();
    let all_over = exits.iter().all(Option::is_some);
    let any_failed = exits.iter().flatten().any(|exit| exit.exit_code != 0);
    if all_over && plan::must_end(view, now) {
        return if any_failed { "Failed" } else { "Succeeded" };
    }
    if !is_initialized(view, spec) {
        let failed = policy == "Never"
            && spec.init_containers.iter().flatten().filter(|container| !is_sidecar(container)).any(
                |container| view.container(&container.name).exited().is_some_and(|exit| exit.exit_code != 0),
            );
        return if failed { "Failed" } else { "Pending" };
    }
    let never_started = spec.containers.iter().any(|container| {
        let state = view.container(&container.name);
        state.current.is_none() && state.last.is_none()
    });
    if never_started { "Pending" } else { "Running" }
}

fn container_status(
    view: &PodView,
    container: &Container,
    init: bool,
    initialized: bool,
    crash_waits: &BTreeMap<String, String>,
) -> ContainerStatus {
    let state = view.container(&container.name);
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        restart_count: i32::try_from(state.restart_count).unwrap_or(i32::MAX),
        ready: if init && !is_sidecar(container) {
            state.exited().is_some_and(|exit| exit.exit_code == 0)
        } else {
            state.is_ready(container) && !is_down(view)
        },
        started: Some(state.is_started(container)),
        last_state: Some(ContainerState { terminated: state.last.clone(), ..ContainerState::default() }),
        ..ContainerStatus::default()
    };
    if let Some(current) = &state.current {
        status.container_id = Some(container_id(&current.id.0));
        status.image_id.clone_from(&current.image_id);
    }
    status.state = Some(container_state(view, container, state, init, initialized, crash_waits, &mut status));
    status
}

fn container_state(
    view: &PodView,
    container: &Container,
    state: &ContainerView,
    init: bool,
    initialized: bool,
    crash_waits: &BTreeMap<String, String>,
    status: &mut ContainerStatus,
) -> ContainerState {
    let waiting = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    };
    let exited_is_last = |status: &mut ContainerStatus| {
        if let Some(exit) = state.exited() {
            status.last_state =
                Some(ContainerState { terminated: Some(exit.clone()), ..ContainerState::default() });
        }
    };
    if let Some(waits) = &state.waiting
        && state.running_since().is_none()
    {
        exited_is_last(status);
        return waiting(&waits.reason, Some(waits.message.clone()));
    }
    if let Some(message) = crash_waits.get(&container.name) {
        exited_is_last(status);
        return waiting("CrashLoopBackOff", Some(message.clone()));
    }
    match state.current.as_ref().map(|current| &current.state) {
        Some(InstanceState::Running(since)) => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        Some(InstanceState::Exited(exit)) => {
            ContainerState { terminated: Some(exit.clone()), ..ContainerState::default() }
        }
        None => {
            let has_init = view
                .spec()
                .is_some_and(|spec| spec.init_containers.as_ref().is_some_and(|list| !list.is_empty()));
            let reason =
                if has_init && (init || !initialized) { "PodInitializing" } else { "ContainerCreating" };
            waiting(reason, None)
        }
    }
}

/// A container id as the API shows it.
pub fn container_id(id: &str) -> String {
    format!("ordinal://{id}")
}

fn is_down(view: &PodView) -> bool {
    view.torn_down
}

fn conditions(
    view: &PodView,
    spec: &PodSpec,
    phase: &str,
    initialized: bool,
    now: Timestamp,
) -> Vec<PodCondition> {
    let generation = view.pod.metadata.generation;
    let previous =
        |kind: &str| view.written.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let make = |kind: &str, verdict: Verdict| {
        let status = if verdict.is_true { "True" } else { "False" };
        let previous = previous(kind);
        let since = previous
            .filter(|condition| condition.status == status)
            .and_then(|condition| condition.last_transition_time.clone());
        let turned = match previous {
            // What does not hold at first has not held since the pod was started. `pod::has_been_ready` reads
            // it so, and what held for less than a second has still held.
            None if !verdict.is_true => view.start_time,
            _ => now.max(view.start_time.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now)),
        };
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason,
            message: verdict.message,
            last_transition_time: Some(since.unwrap_or(Time(turned))),
            last_probe_time: None,
            observed_generation: generation,
        }
    };
    let containers_ready = containers_ready(view, spec, phase);
    let ready = if containers_ready.is_true { gates(view, spec) } else { containers_ready.clone() };
    let init = if initialized {
        Verdict {
            is_true: true,
            reason: (phase == "Succeeded").then(|| "PodCompleted".to_owned()),
            message: None,
        }
    } else {
        let names: Vec<&str> = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| {
                let state = view.container(&container.name);
                if is_sidecar(container) {
                    !state.is_started(container)
                } else {
                    state.exited().is_none_or(|exit| exit.exit_code != 0)
                }
            })
            .map(|container| container.name.as_str())
            .collect();
        Verdict::no(
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", names.join(" ")),
        )
    };
    let has_sandbox =
        Verdict { is_true: view.sandbox.is_some() && !view.torn_down, reason: None, message: None };
    let mut conditions = vec![
        make("PodReadyToStartContainers", has_sandbox),
        make("Initialized", init),
        make("Ready", ready),
        make("ContainersReady", containers_ready),
    ];
    let current = view.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let scheduled = current
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "True")
        .cloned();
    conditions.push(scheduled.unwrap_or_else(|| make("PodScheduled", Verdict::yes())));
    conditions.extend(
        current
            .into_iter()
            .flatten()
            .filter(|condition| !OWN_CONDITIONS.contains(&condition.type_.as_str()))
            .cloned(),
    );
    conditions
}

#[derive(Clone)]
struct Verdict {
    is_true: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Verdict {
        Verdict { is_true: true, reason: None, message: None }
    }

    fn no(reason: &str, message: String) -> Verdict {
        Verdict {
            is_true: false,
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then_some(message),
        }
    }
}

fn containers_ready(view: &PodView, spec: &PodSpec, phase: &str) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::no("PodCompleted", String::new()),
        "Failed" => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .chain(&spec.containers)
        .filter(|container| !view.container(&container.name).is_ready(container) || is_down(view))
        .map(|container| container.name.as_str())
        .collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    Verdict::no("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
}

/// Readiness gates: conditions that somebody else sets on the pod.
fn gates(view: &PodView, spec: &PodSpec) -> Verdict {
    let current = view.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut missing = Vec::new();
    for gate in spec.readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match current.into_iter().flatten().find(|condition| &condition.type_ == kind) {
            None => missing
                .push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(condition) if condition.status != "True" => {
                missing.push(format!(
                    "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                    condition.status
                ));
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Verdict::yes();
    }
    Verdict::no("ReadinessGatesNotReady", missing.join(", "))
}
