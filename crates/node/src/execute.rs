//! Carrying out what [`crate::plan`] decided. It makes no choices about when or whether.
//!
//! Every action is idempotent and ends in one [`Outcome`]; the agent's loop applies it to the view. Events
//! are noted here, where things happen.
//!
//! Read next: [`crate::start`] (starting a container), [`crate::probe`] (probes and hooks).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, DeleteOptions, PatchKind, Precondition};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::clock::Clock;
use model::status::Status;
use network::pod_network::{HostPort, PodNetwork};
use runtime::api::{ContainerId, ContainerState, Exit, Images, Runtime, SandboxConfig, SandboxId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::{AgentConfig, log_directory_name};
use crate::env::Facts;
use crate::events::{EventSink, Severity};
use crate::files;
use crate::plan::Action;
use crate::resources;
use crate::sources::References;
use crate::start::{StartFailure, Started};
use crate::view::{MountedVolume, PodView, ProbeKind};
use crate::volumes::Mounter;

/// Least time a container gets after its hook has used up the grace.
const GRACE_AFTER_HOOK: Duration = Duration::from_secs(2);
/// Most bytes kept of a termination message, as the API allows.
const TERMINATION_MESSAGE_BYTES_MAX: usize = 4096;
/// Most bytes and lines of a log that serve as one.
const TERMINATION_LOG_BYTES_MAX: u64 = 2048;
const TERMINATION_LOG_LINES_MAX: u64 = 80;

/// Everything that actions need.
pub struct Context {
    /// The agent's settings.
    pub config: AgentConfig,
    /// The API.
    pub client: Client,
    /// Sandboxes and containers.
    pub runtime: Arc<dyn Runtime>,
    /// Images.
    pub images: Arc<dyn Images>,
    /// The pod network.
    pub network: Arc<dyn PodNetwork>,
    /// Volumes.
    pub mounter: Mounter,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Where events go.
    pub events: EventSink,
}

/// What came of an action.
#[derive(Debug)]
pub enum Outcome {
    /// Volumes were mounted.
    Volumes(Result<BTreeMap<String, MountedVolume>, String>),
    /// The sandbox was made.
    Sandbox(Result<(SandboxId, Vec<IpAddr>), String>),
    /// A container was started.
    Started {
        /// Which.
        container: String,
        /// Its restart count.
        attempt: u32,
        /// What came of it.
        result: Result<Started, StartFailure>,
    },
    /// A `postStart` hook is over.
    PostStarted {
        /// Whose.
        container: String,
        /// Its instance.
        id: ContainerId,
        /// What came of it.
        result: Result<(), String>,
    },
    /// A container could not be stopped.
    StopFailed {
        /// Which.
        container: String,
        /// Why.
        reason: String,
    },
    /// A stop was made faster.
    Killed,
    /// A start was given up before anything was made, because the pod has to go.
    GaveUp,
    /// A probe is over.
    Probed {
        /// Whose.
        container: String,
        /// Its instance.
        id: ContainerId,
        /// Which.
        kind: ProbeKind,
        /// What came of it.
        result: Result<(), String>,
    },
    /// A container has ended.
    Exited {
        /// Which; empty when it cannot be told any more.
        container: String,
        /// Its instance.
        id: ContainerId,
        /// How.
        terminated: ContainerStateTerminated,
    },
    /// Everything of the pod was removed.
    TornDown(Result<(), String>),
    /// Its last traces were removed.
    Forgotten(Result<(), String>),
    /// The status was written.
    StatusWritten(PodStatus, Result<(), Status>),
}

impl Context {
    /// Carries out one action for a pod. `ending` is cancelled when the pod has to go: what can be given up
    /// without a trace (waiting for an image) then is.
    pub async fn execute(&self, action: Action, view: PodView, ending: CancellationToken) -> Outcome {
        match action {
            Action::MountVolumes => Outcome::Volumes(self.mount_volumes(&view).await),
            Action::RunSandbox => Outcome::Sandbox(self.run_sandbox(&view).await),
            Action::Start { container, attempt } => {
                match self.start(&view, &container, attempt, &ending).await {
                    Some(result) => Outcome::Started { container, attempt, result },
                    None => Outcome::GaveUp,
                }
            }
            Action::PostStart { container, id } => {
                let result = self.post_start(&view, &container, &id).await;
                Outcome::PostStarted { container, id, result }
            }
            Action::Stop { container, id, grace, message } => {
                match self.stop(&view, &container, &id, grace, message).await {
                    // The end is looked up, so that nothing depends on an event arriving.
                    Ok(()) => self.look_up_exit(container, id).await,
                    Err(reason) => Outcome::StopFailed { container, reason },
                }
            }
            Action::Kill { id, grace, .. } => {
                let _ = self.runtime.stop_container(&id, grace).await;
                Outcome::Killed
            }
            Action::Probe { container, id, kind } => {
                let result = self.probe(&view, &container, &id, kind).await;
                Outcome::Probed { container, id, kind, result }
            }
            Action::TearDown => Outcome::TornDown(self.tear_down(&view).await),
            Action::Forget { delete_object } => Outcome::Forgotten(self.forget(&view, delete_object).await),
        }
    }

    /// What of node and sandbox the pod may ask for.
    pub fn facts(&self, view: &PodView) -> Facts {
        Facts {
            pod_ips: view.addresses.clone(),
            host_ip: view.host_ip.clone(),
            allocatable_cpu_milli: self.config.capacity.cpu_milli,
            allocatable_memory_bytes: self.config.capacity.memory_bytes,
        }
    }

    /// Directory of a pod's logs.
    pub fn log_directory(&self, view: &PodView) -> PathBuf {
        let name = log_directory_name(view.namespace(), view.name(), &view.uid);
        self.config.root_dir.join("pods").join(name)
    }

    async fn mount_volumes(&self, view: &PodView) -> Result<BTreeMap<String, MountedVolume>, String> {
        let mut references = References::default();
        if let Some(spec) = view.spec() {
            references.add_volumes(spec);
        }
        let sources = references.fetch(&self.client, view.namespace()).await.map_err(|s| s.to_string())?;
        let mounted = self.mounter.mount_all(&view.pod, &sources, &self.facts(view), self.clock.now()).await;
        mounted.map_err(|error| {
            let message = error.to_string();
            self.events.note(&view.pod, None, Severity::Warning, "FailedMount", message.clone());
            message
        })
    }

    async fn run_sandbox(&self, view: &PodView) -> Result<(SandboxId, Vec<IpAddr>), String> {
        let made = self.try_run_sandbox(view).await;
        made.map_err(|reason| {
            let message = format!("Failed to create pod sandbox: {reason}");
            self.events.note(&view.pod, None, Severity::Warning, "FailedCreatePodSandBox", message.clone());
            message
        })
    }

    async fn try_run_sandbox(&self, view: &PodView) -> Result<(SandboxId, Vec<IpAddr>), String> {
        let spec = view.spec().ok_or("the pod has no spec")?;
        for broken in &view.broken_sandboxes {
            self.runtime.stop_sandbox(broken).await.map_err(|error| error.to_string())?;
            self.runtime.remove_sandbox(broken).await.map_err(|error| error.to_string())?;
        }
        let on_host = spec.host_network == Some(true);
        let (namespace_path, addresses) = if on_host {
            (None, vec![self.config.node_ip])
        } else {
            let attached = self.network.attach(&view.uid, &host_ports(view)).await;
            let attached = attached.map_err(|error| error.to_string())?;
            (Some(attached.namespace_path), attached.addresses)
        };
        let (hostname, full) = files::hostname(&view.pod, &self.config.cluster_domain);
        if self.runtime.has_files() {
            let written = self.write_files(view, &addresses, &hostname, full.as_deref()).await;
            written.map_err(|error| format!("write the pod's files: {error}"))?;
        }
        let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
        let config = SandboxConfig {
            namespace: view.namespace().to_owned(),
            name: view.name().to_owned(),
            uid: view.uid.clone(),
            attempt: view.sandbox_attempt,
            hostname: if on_host { self.config.node_name.clone() } else { hostname },
            network_namespace: namespace_path,
            host_pid: spec.host_pid == Some(true),
            host_ipc: spec.host_ipc == Some(true),
            share_process_namespace: spec.share_process_namespace == Some(true),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            resources: resources::of_pod(spec),
            labels: pod_labels(view),
        };
        let id = self.runtime.run_sandbox(config).await.map_err(|error| error.to_string())?;
        Ok((id, addresses))
    }

    async fn write_files(
        &self,
        view: &PodView,
        addresses: &[IpAddr],
        hostname: &str,
        full: Option<&str>,
    ) -> std::io::Result<()> {
        let Some(spec) = view.spec() else {
            return Ok(());
        };
        let directory = self.mounter.pod_directory(&view.uid);
        let on_host = spec.host_network == Some(true);
        let read = move || {
            let host_hosts = on_host.then(|| std::fs::read_to_string("/etc/hosts").unwrap_or_default());
            Ok((host_hosts, std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()))
        };
        let (host_hosts, host_resolver) = self.config.machine.run(read).await?;
        let aliases = spec.host_aliases.as_deref().unwrap_or_default();
        let hosts = files::hosts(addresses, hostname, full, aliases, host_hosts.as_deref());
        let resolver = files::resolv_conf(
            spec,
            view.namespace(),
            &self.config.cluster_dns,
            &self.config.cluster_domain,
            &host_resolver,
        );
        let write = move || {
            std::fs::create_dir_all(&directory)?;
            std::fs::write(directory.join("hosts"), hosts)?;
            std::fs::write(directory.join("resolv.conf"), resolver)
        };
        self.config.machine.run(write).await
    }

    async fn stop(
        &self,
        view: &PodView,
        name: &str,
        id: &ContainerId,
        grace: Duration,
        message: String,
    ) -> Result<(), String> {
        self.note(view, name, Severity::Normal, "Killing", message);
        let began = tokio::time::Instant::now();
        let hook = crate::probe::container_of(view, name)
            .and_then(|container| container.lifecycle.as_ref())
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let mut left = grace;
        if let Some(hook) = hook
            && !grace.is_zero()
        {
            let ran = tokio::time::timeout(grace, self.run_hook(view, name, id, hook)).await;
            if !matches!(ran, Ok(Ok(()))) {
                self.note(view, name, Severity::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            left = grace.saturating_sub(began.elapsed()).max(GRACE_AFTER_HOOK);
        }
        self.runtime.stop_container(id, left).await.map_err(|error| {
            self.note(view, name, Severity::Warning, "FailedKillPod", format!("error killing pod: {error}"));
            error.to_string()
        })
    }

    async fn tear_down(&self, view: &PodView) -> Result<(), String> {
        for sandbox in view.sandbox.iter().chain(&view.broken_sandboxes) {
            self.runtime.stop_sandbox(sandbox).await.map_err(|error| error.to_string())?;
            self.runtime.remove_sandbox(sandbox).await.map_err(|error| error.to_string())?;
        }
        // After the processes and before the address is given to somebody else.
        self.mounter.unmount_all(&view.uid).await?;
        self.network.detach(&view.uid).await.map_err(|error| error.to_string())
    }

    async fn forget(&self, view: &PodView, delete_object: bool) -> Result<(), String> {
        let logs = self.log_directory(view);
        match self.config.machine.run(move || std::fs::remove_dir_all(logs)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
            _ => {}
        }
        if !delete_object {
            return Ok(());
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            propagation: None,
            precondition: Precondition { uid: Some(view.uid.clone()), resource_version: None },
        };
        match self.client.delete::<Pod>(view.namespace(), view.name(), options).await {
            // Mostly it says that the name belongs to another pod by now. Whoever takes it for that without a
            // look leaves a pod that is never removed.
            Err(status) if status.is_conflict() => self.confirm_gone(view).await,
            Err(status) if !status.is_not_found() => Err(status.to_string()),
            _ => Ok(()),
        }
    }

    async fn confirm_gone(&self, view: &PodView) -> Result<(), String> {
        match self.client.get::<Pod>(view.namespace(), view.name()).await {
            Ok(pod) if pod.metadata.uid.as_ref() == Some(&view.uid) => {
                Err("the object was not removed, and is still there".to_owned())
            }
            Err(status) if !status.is_not_found() => Err(status.to_string()),
            _ => Ok(()),
        }
    }

    /// Writes a pod's status, if the object is still the same pod.
    pub async fn write_status(&self, view: &PodView, status: PodStatus) -> Outcome {
        let patch = status_patch(&view.uid, &view.written, &status);
        let written =
            self.client.patch::<Pod>(view.namespace(), view.name(), "status", PatchKind::Merge, patch).await;
        Outcome::StatusWritten(status, written.map(|_| ()))
    }

    /// How a container ended that must have ended.
    pub async fn look_up_exit(&self, container: String, id: ContainerId) -> Outcome {
        match self.runtime.container_status(&id).await.map(|status| status.state) {
            Ok(ContainerState::Exited(exit)) => match self.exited(id, exit).await {
                Outcome::Exited { id, terminated, .. } => Outcome::Exited { container, id, terminated },
                other => other,
            },
            Ok(ContainerState::Running { .. }) => {
                Outcome::StopFailed { container, reason: "it still runs".to_owned() }
            }
            _ => {
                let terminated = unknown_end(self.clock.now());
                Outcome::Exited { container, id, terminated }
            }
        }
    }

    /// What the status says of a container that ended.
    pub async fn exited(&self, id: ContainerId, exit: Exit) -> Outcome {
        let mut terminated = terminated(&id, &exit);
        let Ok(status) = self.runtime.container_status(&id).await else {
            return Outcome::Exited { container: String::new(), id, terminated };
        };
        let labels = &status.config.labels;
        if let Some(path) = labels.get(LABEL_MESSAGE_FILE) {
            let path = path.clone();
            let text = self.config.machine.run(move || std::fs::read(path)).await.unwrap_or_default();
            let cut = &text[..text.len().min(TERMINATION_MESSAGE_BYTES_MAX)];
            if !cut.is_empty() {
                terminated.message = Some(String::from_utf8_lossy(cut).into_owned());
            }
        }
        let to_logs = labels.get(LABEL_MESSAGE_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
        if terminated.message.is_none() && to_logs && exit.code != 0 {
            let tail = crate::logs::tail_text(
                &status.config.log_path,
                TERMINATION_LOG_LINES_MAX,
                TERMINATION_LOG_BYTES_MAX,
            );
            terminated.message = tail.await.filter(|text| !text.is_empty());
        }
        Outcome::Exited { container: status.config.name, id, terminated }
    }

    /// Notes an event about a container.
    pub fn note(
        &self,
        view: &PodView,
        container: &str,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let init = view
            .spec()
            .is_some_and(|spec| spec.init_containers.iter().flatten().any(|init| init.name == container));
        self.events.note(&view.pod, Some((container, init)), severity, reason, message);
    }
}

/// Label with the path of the termination message.
pub const LABEL_MESSAGE_FILE: &str = "ordinal.dev/termination-message-file";
/// Label with its policy.
pub const LABEL_MESSAGE_POLICY: &str = "ordinal.dev/termination-message-policy";

/// Labels that name the pod.
pub fn pod_labels(view: &PodView) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("io.kubernetes.pod.namespace".to_owned(), view.namespace().to_owned()),
        ("io.kubernetes.pod.name".to_owned(), view.name().to_owned()),
        ("io.kubernetes.pod.uid".to_owned(), view.uid.clone()),
    ])
}

/// The end of a container that the runtime lost track of.
pub fn unknown_end(now: Timestamp) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        finished_at: Some(Time(now)),
        ..ContainerStateTerminated::default()
    }
}

/// How a container ended, without its own message.
pub fn terminated(id: &ContainerId, exit: &Exit) -> ContainerStateTerminated {
    let reason = match exit.code {
        _ if exit.oom_killed => "OOMKilled",
        0 => "Completed",
        _ if exit.started_at.is_none() => "StartError",
        _ => "Error",
    };
    ContainerStateTerminated {
        container_id: Some(crate::status::container_id(&id.0)),
        exit_code: exit.code,
        signal: None,
        reason: Some(reason.to_owned()),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: Some(Time(exit.started_at.unwrap_or(Timestamp::UNIX_EPOCH))),
        finished_at: Some(Time(exit.finished_at)),
    }
}

fn host_ports(view: &PodView) -> Vec<HostPort> {
    view.spec()
        .iter()
        .flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let host_port = u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?;
            let container_port = u16::try_from(port.container_port).ok()?;
            let udp = port.protocol.as_deref() == Some("UDP");
            Some(HostPort { host_port, container_port, udp })
        })
        .collect()
}

/// A merge patch that makes a status what it is to be: fields that went away are taken out by name. The uid
/// makes it fail on a later pod of the same name.
pub fn status_patch(uid: &str, before: &PodStatus, after: &PodStatus) -> Value {
    let before = serde_json::to_value(before).unwrap_or_default();
    let mut after = serde_json::to_value(after).unwrap_or_default();
    if let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) {
        for key in before.keys() {
            after.entry(key.clone()).or_insert(Value::Null);
        }
    }
    json!({ "metadata": { "uid": uid }, "status": after })
}
