//! What the agent knows about one pod: what is wanted, what was seen, what is under way.
//!
//! Changed only by the agent's loop, read by [`crate::plan`]. It must never wait or touch a file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, Pod, PodSpec, PodStatus, Probe};
use runtime::api::{ContainerId, SandboxId};

/// Something that at most one task at a time does for a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Mounting, refreshing and unmounting volumes.
    Volumes,
    /// Making the sandbox, and taking everything down.
    Sandbox,
    /// Starting and stopping one container.
    Container(String),
    /// The `postStart` hook of one container; it must not hold up a stop.
    Hook(String),
    /// Ending a container faster than the stop under way does.
    Kill(String),
    /// One probe of one container.
    Probe(String, ProbeKind),
    /// Writing the status.
    Status,
    /// Removing the last traces and the API object.
    Forget,
}

/// Which of a container's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Holds the others back until it has passed once.
    Startup,
    /// Has the container restarted when it fails.
    Liveness,
    /// Decides whether the container is ready.
    Readiness,
}

impl ProbeKind {
    /// Every kind.
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

    /// As events and logs name it.
    pub fn text(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// Why the node would not take the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// As in `status.reason`: `NodePorts`, `OutOfcpu`.
    pub reason: String,
    /// As in `status.message`.
    pub message: String,
}

/// When to try again what failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row.
    pub failures: u32,
    /// Not before this.
    pub not_before: Timestamp,
    /// What went wrong the last time.
    pub message: String,
}

/// The volumes of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volumes {
    /// Where each is; `None` until all are there.
    pub mounted: Option<Arc<BTreeMap<String, MountedVolume>>>,
    /// Content that came from the API has changed.
    pub stale: bool,
    /// The last try failed.
    pub retry: Option<Retry>,
}

/// A volume that containers can mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedVolume {
    /// Its root on the host.
    pub path: PathBuf,
    /// No container may write to it.
    pub readonly: bool,
}

/// A container that the runtime has.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The runtime's name for it.
    pub id: ContainerId,
    /// Where it stands.
    pub state: InstanceState,
    /// Its `postStart` hook is over, or it has none.
    pub post_started: bool,
    /// The image's id, as the status shows it.
    pub image_id: String,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq)]
pub enum InstanceState {
    /// Running since then.
    Running(Timestamp),
    /// Over, with what the status says of it.
    Exited(ContainerStateTerminated),
}

/// Why a container waits, as its status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `ErrImagePull`, `CreateContainerConfigError` …
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Growing pause between two restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Seconds that must lie between the exit and the next start.
    pub delay_seconds: i64,
    /// When it was last made longer.
    pub updated: Timestamp,
}

/// What one probe has shown so far about the running instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeView {
    /// When the next try is due.
    pub due: Timestamp,
    /// When failures began to be counted for the present period.
    pub counted: Timestamp,
    /// Tries since the instance started.
    pub tries: u32,
    /// Successes in a row.
    pub successes: u32,
    /// Counted failures in a row.
    pub failures: u32,
    /// The verdict; `None` before there is one.
    pub passed: Option<bool>,
}

/// One container of the pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerView {
    /// What the runtime has now.
    pub current: Option<Instance>,
    /// The runtime's name for the one before; kept so that its end is known after a restart.
    pub previous: Option<ContainerId>,
    /// How the one before ended.
    pub last: Option<ContainerStateTerminated>,
    /// The restart count: the attempt of the current instance, or of the next one if there is none.
    pub restart_count: u32,
    /// The last try to start it failed.
    pub waiting: Option<Waiting>,
    /// Not to be tried again before this.
    pub not_before: Option<Timestamp>,
    /// Failed pulls in a row.
    pub pull_failures: u32,
    /// Pause between restarts.
    pub backoff: Option<Backoff>,
    /// It must be stopped (and may be restarted): the message for the event.
    pub kill: Option<String>,
    /// When the stop under way will have sent SIGKILL.
    pub stop_deadline: Option<Timestamp>,
    /// Its probes.
    pub probes: BTreeMap<ProbeKind, ProbeView>,
}

impl ContainerView {
    /// Since when it runs.
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.current.as_ref()?.state {
            InstanceState::Running(since) => Some(since),
            InstanceState::Exited(_) => None,
        }
    }

    /// How the current instance ended, if it did.
    pub fn exited(&self) -> Option<&ContainerStateTerminated> {
        match &self.current.as_ref()?.state {
            InstanceState::Exited(terminated) => Some(terminated),
            InstanceState::Running(_) => None,
        }
    }

    /// Running, its hook over and its startup probe passed.
    pub fn is_started(&self, container: &Container) -> bool {
        self.running_since().is_some()
            && self.current.as_ref().is_some_and(|current| current.post_started)
            && (container.startup_probe.is_none() || self.probe_passed(ProbeKind::Startup))
    }

    /// Started, and its readiness probe says so.
    pub fn is_ready(&self, container: &Container) -> bool {
        self.is_started(container)
            && (container.readiness_probe.is_none() || self.probe_passed(ProbeKind::Readiness))
    }

    fn probe_passed(&self, kind: ProbeKind) -> bool {
        self.probes.get(&kind).is_some_and(|probe| probe.passed == Some(true))
    }

    /// A new instance runs: probes begin anew.
    pub fn begin(&mut self, container: &Container, instance: Instance, now: Timestamp) {
        self.waiting = None;
        self.not_before = None;
        self.pull_failures = 0;
        self.kill = None;
        self.stop_deadline = None;
        self.probes.clear();
        let since = match instance.state {
            InstanceState::Running(since) => since,
            InstanceState::Exited(_) => now,
        };
        for kind in ProbeKind::ALL {
            if let Some(probe) = kind.of(container) {
                let delay = i64::from(probe.initial_delay_seconds.unwrap_or(0));
                let due = (since + jiff::SignedDuration::from_secs(delay)).max(now);
                let view = ProbeView { due, counted: due, tries: 0, successes: 0, failures: 0, passed: None };
                self.probes.insert(kind, view);
            }
        }
        self.current = Some(instance);
    }
}

/// Everything about one pod.
#[derive(Debug, Clone)]
pub struct PodView {
    /// The latest version seen.
    pub pod: Arc<Pod>,
    /// Its uid.
    pub uid: String,
    /// The API has it no more.
    pub gone: bool,
    /// The node does not take it.
    pub rejected: Option<Rejection>,
    /// It was over already when this agent first saw it, with this phase.
    pub over_at_start: bool,
    /// When the agent took it up.
    pub start_time: Timestamp,
    /// When it began to be taken down.
    pub terminating_since: Option<Timestamp>,
    /// Uid of an earlier pod of the same name that is not down yet.
    pub predecessor: Option<String>,
    /// The node's address.
    pub host_ip: String,
    /// Its sandbox.
    pub sandbox: Option<SandboxId>,
    /// Sandboxes of it that are broken and to be removed.
    pub broken_sandboxes: Vec<SandboxId>,
    /// How many sandboxes it has had.
    pub sandbox_attempt: u32,
    /// The last try to make the sandbox failed.
    pub sandbox_retry: Option<Retry>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its volumes.
    pub volumes: Volumes,
    /// Its containers by name, init containers too.
    pub containers: BTreeMap<String, ContainerView>,
    /// What is under way.
    pub in_flight: BTreeSet<Key>,
    /// Taking it down failed the last time.
    pub teardown_retry: Option<Retry>,
    /// Containers, sandbox, network and volumes are gone.
    pub torn_down: bool,
    /// The status that the API has, as far as is known.
    pub written: PodStatus,
    /// Writing the status failed the last time.
    pub status_retry: Option<Retry>,
    /// Removing the object failed the last time.
    pub forget_retry: Option<Retry>,
}

impl PodView {
    /// A pod that was just seen.
    pub fn new(pod: Arc<Pod>, host_ip: &str, now: Timestamp) -> PodView {
        let written = pod.status.clone().unwrap_or_default();
        let over = matches!(written.phase.as_deref(), Some("Succeeded" | "Failed"));
        let start_time = written.start_time.as_ref().map_or(now, |time| time.0);
        let containers = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
            .map(|container| (container.name.clone(), ContainerView::default()))
            .collect();
        PodView {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            pod,
            gone: false,
            rejected: None,
            over_at_start: over,
            start_time,
            terminating_since: None,
            predecessor: None,
            host_ip: host_ip.to_owned(),
            sandbox: None,
            broken_sandboxes: Vec::new(),
            sandbox_attempt: 0,
            sandbox_retry: None,
            addresses: Vec::new(),
            volumes: Volumes::default(),
            containers,
            in_flight: BTreeSet::new(),
            teardown_retry: None,
            torn_down: false,
            written,
            status_retry: None,
            forget_retry: None,
        }
    }

    /// Takes over a newer version of the object. What the control plane said of a pod whose node was silent
    /// stands in the API in place of what was written here, so that the pod's own status is written again.
    pub fn see(&mut self, pod: Arc<Pod>) {
        let judged = pod.status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|one| {
            one.type_ == "Ready" && one.status == "False" && one.reason.as_deref() == Some("NodeNotReady")
        });
        if let Some(judged) = judged {
            let own = self.written.conditions.iter_mut().flatten().filter(|one| one.type_ == "Ready");
            own.for_each(|own| *own = judged.clone());
        }
        self.pod = pod;
    }

    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The pod's name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// What is wanted; `None` for a pod known only from what it left behind.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// One container's view; every container of the spec has one.
    pub fn container(&self, name: &str) -> &ContainerView {
        static NONE: std::sync::LazyLock<ContainerView> = std::sync::LazyLock::new(ContainerView::default);
        self.containers.get(name).unwrap_or(&NONE)
    }

    /// `Always`, `OnFailure` or `Never`.
    pub fn restart_policy(&self) -> &str {
        self.spec().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }
}

/// True for an init container that keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
