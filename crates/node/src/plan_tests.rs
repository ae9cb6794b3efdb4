//! The plan of a pod, step by step: each test sets a view and reads what is to be done.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::api::{ContainerId, SandboxId};
use serde_json::{Value, json};

use super::*;
use crate::view::{Instance, InstanceState};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("valid")
}

fn view(spec: Value) -> PodView {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec,
    }))
    .expect("a pod");
    let mut view = PodView::new(Arc::new(pod), "192.0.2.1", now());
    view.volumes.mounted = Some(Arc::default());
    view.sandbox = Some(SandboxId("s".to_owned()));
    view
}

fn run(view: &mut PodView, name: &str) {
    let container = crate::probe::container_of(view, name).expect("in the spec").clone();
    let instance = Instance {
        id: ContainerId(name.to_owned()),
        state: InstanceState::Running(now()),
        post_started: true,
        image_id: String::new(),
    };
    view.containers.get_mut(name).expect("in the view").begin(&container, instance, now());
}

fn exit(view: &mut PodView, name: &str, code: i32, at: Timestamp) {
    let terminated = ContainerStateTerminated {
        exit_code: code,
        finished_at: Some(Time(at)),
        ..ContainerStateTerminated::default()
    };
    run(view, name);
    let state = view.containers.get_mut(name).expect("in the view");
    state.current.as_mut().expect("runs").state = InstanceState::Exited(terminated);
}

/// The plan as short lines.
fn actions(view: &PodView, at: Timestamp) -> Vec<String> {
    plan(view, at)
        .actions
        .iter()
        .map(|action| match action {
            Action::Start { container, attempt } => format!("start {container} {attempt}"),
            Action::Stop { container, grace, .. } => format!("stop {container} {}s", grace.as_secs()),
            Action::Kill { container, grace, .. } => format!("kill {container} {}s", grace.as_secs()),
            Action::Probe { container, kind, .. } => format!("probe {container} {}", kind.text()),
            Action::PostStart { container, .. } => format!("hook {container}"),
            Action::Forget { delete_object } => format!("forget {delete_object}"),
            other => format!("{other:?}"),
        })
        .collect()
}

fn two() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}]})
}

#[test]
fn volumes_come_before_the_sandbox_and_the_sandbox_before_containers() {
    let mut view = view(two());
    view.sandbox = None;
    view.volumes.mounted = None;
    assert_eq!(actions(&view, now()), ["MountVolumes"]);
    view.volumes.mounted = Some(Arc::default());
    assert_eq!(actions(&view, now()), ["RunSandbox"]);
    view.sandbox = Some(SandboxId("s".to_owned()));
    assert_eq!(actions(&view, now()), ["start a 0", "start b 0"]);
    view.in_flight.insert(Key::Container("a".to_owned()));
    assert_eq!(actions(&view, now()), ["start b 0"]);
}

#[test]
fn nothing_starts_while_an_earlier_pod_of_the_name_is_not_down() {
    let mut view = view(two());
    view.volumes.mounted = None;
    view.predecessor = Some("old".to_owned());
    let planned = plan(&view, now());
    assert!(planned.actions.is_empty());
    assert_eq!(planned.waiting_on, [WaitingOn::Predecessor { uid: "old".to_owned() }]);
}

#[test]
fn the_second_crash_waits_ten_seconds_and_says_so() {
    let mut view = view(json!({"containers": [{"name": "a"}]}));
    exit(&mut view, "a", 1, now());
    assert_eq!(actions(&view, now()), ["start a 1"], "the first restart is at once");
    let state = view.containers.get_mut("a").expect("there");
    state.backoff = Some(next_backoff(None, now()));
    let planned = plan(&view, now());
    assert!(planned.actions.is_empty());
    assert_eq!(planned.wake_at, Some(now() + SignedDuration::from_secs(10)));
    let status = serde_json::to_value(&planned.status).expect("encodes");
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "CrashLoopBackOff");
    assert_eq!(waiting["message"], "back-off 10s restarting failed container=a pod=p_ns(u)");
    assert_eq!(actions(&view, now() + SignedDuration::from_secs(10)), ["start a 1"]);
}

#[test]
fn the_pause_doubles_to_five_minutes_and_begins_anew_after_ten() {
    let mut backoff = None;
    let mut seconds = Vec::new();
    for _ in 0..7 {
        backoff = Some(next_backoff(backoff, now()));
        seconds.push(backoff.expect("set").delay_seconds);
    }
    assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300]);
    let later = now() + SignedDuration::from_secs(RESTART_BACKOFF_RESET_SECONDS + 1);
    assert_eq!(next_backoff(backoff, later).delay_seconds, 10);
}

#[test]
fn sidecars_are_stopped_after_the_others_and_in_reverse() {
    let mut view = view(json!({
        "terminationGracePeriodSeconds": 7,
        "initContainers": [
            {"name": "s1", "restartPolicy": "Always"}, {"name": "s2", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a"}],
    }));
    for name in ["s1", "s2", "a"] {
        run(&mut view, name);
    }
    view.terminating_since = Some(now());
    assert_eq!(actions(&view, now()), ["stop a 7s"]);
    exit(&mut view, "a", 0, now());
    assert_eq!(actions(&view, now()), ["stop s2 7s"]);
    exit(&mut view, "s2", 0, now());
    assert_eq!(actions(&view, now() + SignedDuration::from_secs(3)), ["stop s1 4s"]);
    exit(&mut view, "s1", 0, now());
    assert_eq!(actions(&view, now()), ["TearDown"]);
    view.torn_down = true;
    view.gone = true;
    assert_eq!(actions(&view, now()), ["forget false"]);
}

#[test]
fn a_forced_deletion_shortens_the_stop_under_way() {
    let mut view = view(json!({"containers": [{"name": "a"}]}));
    run(&mut view, "a");
    view.terminating_since = Some(now());
    view.in_flight.insert(Key::Container("a".to_owned()));
    let deadline = now() + SignedDuration::from_secs(30);
    view.containers.get_mut("a").expect("there").stop_deadline = Some(deadline);
    assert!(actions(&view, now()).is_empty());
    view.gone = true;
    assert_eq!(actions(&view, now()), ["kill a 1s"]);
}

#[test]
fn probes_wait_for_the_startup_probe_and_then_run_at_once() {
    let probe = json!({"exec": {"command": ["true"]}});
    let mut view = view(json!({"containers": [
        {"name": "a", "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe},
    ]}));
    run(&mut view, "a");
    assert_eq!(actions(&view, now()), ["probe a Startup"]);
    let state = view.containers.get_mut("a").expect("there");
    state.probes.get_mut(&ProbeKind::Startup).expect("there").passed = Some(true);
    assert_eq!(actions(&view, now()), ["probe a Liveness", "probe a Readiness"]);
}

#[test]
fn an_idle_pod_has_nothing_to_do_and_no_timer() {
    let mut view = view(two());
    run(&mut view, "a");
    run(&mut view, "b");
    view.written = plan(&view, now()).status;
    let planned = plan(&view, now() + SignedDuration::from_secs(60));
    assert!(planned.actions.is_empty());
    assert_eq!(planned.wake_at, None);
    assert_eq!(planned.status, view.written, "nothing is written when nothing changes");
}

#[test]
fn a_pod_that_was_called_not_ready_while_its_node_was_silent_tells_its_own_status_again() {
    let mut view = view(two());
    run(&mut view, "a");
    run(&mut view, "b");
    view.written = plan(&view, now()).status;
    let mut pod = (*view.pod).clone();
    let mut status = view.written.clone();
    for condition in status.conditions.iter_mut().flatten().filter(|one| one.type_ == "Ready") {
        condition.status = "False".to_owned();
        condition.reason = Some("NodeNotReady".to_owned());
    }
    pod.status = Some(status);
    view.see(Arc::new(pod));
    let planned = plan(&view, now()).status;
    assert_ne!(planned, view.written, "it is written");
    let ready = planned.conditions.iter().flatten().find(|one| one.type_ == "Ready").expect("is there");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("True", None));
}

#[test]
fn the_object_goes_only_after_its_last_state_was_told() {
    let mut view = view(json!({"containers": [{"name": "a"}]}));
    exit(&mut view, "a", 0, now());
    view.torn_down = true;
    let mut pod = (*view.pod).clone();
    pod.metadata.deletion_timestamp = Some(Time(now()));
    view.pod = Arc::new(pod);
    assert!(actions(&view, now()).is_empty());
    view.written = plan(&view, now()).status;
    assert_eq!(actions(&view, now()), ["forget true"]);
}
