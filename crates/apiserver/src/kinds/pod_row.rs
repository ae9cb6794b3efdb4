//! The row that `kubectl get pods` prints.
//!
//! Its STATUS column is not the phase: it tells what one needs to know next, by rules that people know by
//! heart, oddities included. They must stay as upstream has them.

use jiff::Timestamp;
use serde_json::Value;

use super::cells;
use super::read::Read;

/// The cells.
pub(crate) fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let picture = Picture::of(pod);
    let restarts = match picture.restarted_at {
        Some(time) if picture.restarts > 0 => {
            let ago = model::duration::human(now.as_second() - time.as_second());
            format!("{} ({ago} ago)", picture.restarts)
        }
        _ => picture.restarts.to_string(),
    };
    let addresses = pod.list("status.podIPs");
    let address = addresses.first().map_or_else(|| pod.text("status.podIP"), |first| first.text("ip"));
    vec![
        cells::name(pod),
        format!("{}/{}", picture.ready, picture.total).into(),
        picture.status.into(),
        restarts.into(),
        cells::age(pod, now),
        cells::or_none(address),
        cells::or_none(pod.text("spec.nodeName")),
        cells::or_none(pod.text("status.nominatedNodeName")),
        gates(pod).into(),
    ]
}

/// The STATUS cell of a pod.
pub fn pod_status(pod: &Value) -> String {
    Picture::of(pod).status
}

fn gates(pod: &Value) -> String {
    let gates = pod.list("spec.readinessGates");
    if gates.is_empty() {
        return cells::NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| condition(pod, gate.text("conditionType"))).count();
    format!("{open}/{}", gates.len())
}

fn condition(pod: &Value, name: &str) -> bool {
    let is_true = |condition: &Value| condition.text("type") == name && condition.text("status") == "True";
    pod.list("status.conditions").iter().any(is_true)
}

/// What the columns are made from.
struct Picture {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    restarted_at: Option<Timestamp>,
}

impl Picture {
    fn of(pod: &Value) -> Picture {
        let phase = pod.text("status.phase");
        let gated = |condition: &Value| {
            condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated"
        };
        let status = if pod.list("status.conditions").iter().any(gated) {
            "SchedulingGated"
        } else if pod.text("status.reason").is_empty() {
            phase
        } else {
            pod.text("status.reason")
        };
        let sidecars = pod.list("spec.initContainers").iter().filter(|container| is_sidecar(container));
        let mut picture = Picture {
            status: status.to_owned(),
            ready: 0,
            total: pod.list("spec.containers").len() + sidecars.count(),
            restarts: 0,
            restarted_at: None,
        };
        let sidecar_restarts = picture.init_containers(pod);
        if let Some((restarts, restarted_at)) = sidecar_restarts {
            picture.restarts = restarts;
            picture.restarted_at = restarted_at;
            picture.containers(pod);
        }
        if pod.has("metadata.deletionTimestamp") {
            if pod.text("status.reason") == "NodeLost" {
                picture.status = "Unknown".to_owned();
            } else if !matches!(phase, "Failed" | "Succeeded") {
                picture.status = "Terminating".to_owned();
            }
        }
        picture
    }

    /// Reads the init containers. While they run, they are what the row is about and the answer is `None`;
    /// afterwards only the restarts of those that go on running count.
    fn init_containers(&mut self, pod: &Value) -> Option<(i64, Option<Timestamp>)> {
        let specs = pod.list("spec.initContainers");
        let mut sidecar_restarts = 0;
        let mut sidecar_restarted_at = None;
        let mut initializing = false;
        for (index, container) in pod.list("status.initContainerStatuses").iter().enumerate() {
            let name = container.text("name");
            let sidecar = specs.iter().any(|spec| spec.text("name") == name && is_sidecar(spec));
            self.count_restarts(container);
            if sidecar {
                sidecar_restarts += container.number("restartCount").unwrap_or_default();
                sidecar_restarted_at = sidecar_restarted_at.max(last_end(container));
            }
            let terminated = container.at("state.terminated");
            if exit_code(terminated) == Some(0) {
                continue;
            }
            if sidecar && container.flag("started") {
                self.ready += usize::from(container.flag("ready"));
                continue;
            }
            let waiting = container.text("state.waiting.reason");
            self.status = if !terminated.is_null() {
                format!("Init:{}", end(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", specs.len())
            };
            initializing = true;
            break;
        }
        let done = !initializing || condition(pod, "Initialized");
        done.then_some((sidecar_restarts, sidecar_restarted_at))
    }

    fn containers(&mut self, pod: &Value) {
        let mut running = false;
        // From the last to the first: the first container's trouble is the one that is shown.
        for container in pod.list("status.containerStatuses").iter().rev() {
            self.count_restarts(container);
            let waiting = container.text("state.waiting.reason");
            let terminated = container.at("state.terminated");
            if !waiting.is_empty() {
                self.status = waiting.to_owned();
            } else if !terminated.is_null() {
                self.status = end(terminated);
            } else if container.flag("ready") && container.has("state.running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && running {
            let ready = condition(pod, "Ready");
            self.status = if ready { "Running".to_owned() } else { "NotReady".to_owned() };
        }
    }

    fn count_restarts(&mut self, container: &Value) {
        self.restarts += container.number("restartCount").unwrap_or_default();
        self.restarted_at = self.restarted_at.max(last_end(container));
    }
}

fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn last_end(container: &Value) -> Option<Timestamp> {
    container.text("lastState.terminated.finishedAt").parse().ok()
}

fn exit_code(terminated: &Value) -> Option<i64> {
    (!terminated.is_null()).then(|| terminated.number("exitCode").unwrap_or_default())
}

/// How a container ended, in one word.
fn end(terminated: &Value) -> String {
    let signal = terminated.number("signal").unwrap_or_default();
    match terminated.text("reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", terminated.number("exitCode").unwrap_or_default()),
        reason => reason.to_owned(),
    }
}
