//! The runtime as the node agent sees it, in the shape of the CRI v1.
//!
//! A *sandbox* holds what a pod's containers share (namespaces, cgroup parent, host name); a *container*
//! runs in one. All calls are idempotent: stopping what is stopped and removing what is gone succeeds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Names a sandbox; given by the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SandboxId(pub String);

/// Names a container; given by the runtime, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId(pub String);

/// What a pod's containers share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The pod's namespace, for names and labels only.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid; one sandbox at a time has it.
    pub uid: String,
    /// Which try this is for the same pod, from 0.
    pub attempt: u32,
    /// Host name inside.
    pub hostname: String,
    /// Path of the network namespace to join; `None` for the host's own (`hostNetwork`).
    pub network_namespace: Option<PathBuf>,
    /// Share the host's process ids.
    pub host_pid: bool,
    /// Share the host's IPC.
    pub host_ipc: bool,
    /// One process namespace for all containers (`shareProcessNamespace`).
    pub share_process_namespace: bool,
    /// Kernel settings for the sandbox's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Limits over the whole pod; the cgroup itself is the runtime's.
    pub resources: Resources,
    /// Anything the caller wants back in lists.
    pub labels: BTreeMap<String, String>,
}

/// cgroup limits. `None` means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Relative weight, 2 to 262144; Kubernetes gives 1024 a core requested.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU in each period.
    pub cpu_quota_us: Option<i64>,
    /// The period in microseconds.
    pub cpu_period_us: Option<u64>,
    /// Bytes of memory.
    pub memory_limit_bytes: Option<i64>,
    /// Number of processes.
    pub pids_limit: Option<i64>,
    /// Preference of the out-of-memory killer, −1000 to 1000. Lowering it needs CAP_SYS_RESOURCE; without
    /// it the runtime says so once and goes on.
    pub oom_score_adj: Option<i32>,
}

/// One bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where in the container.
    pub container_path: String,
    /// What of the host; a file or a directory that is there.
    pub host_path: PathBuf,
    /// No writing.
    pub readonly: bool,
    /// How mounts made later travel.
    pub propagation: Propagation,
}

/// How mounts made later travel between host and container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From host to container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// Who runs in a container and what he may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Everything allowed.
    pub privileged: bool,
    /// User id; `None` for the image's user.
    pub run_as_user: Option<u32>,
    /// Group id; `None` for that of the user in the image.
    pub run_as_group: Option<u32>,
    /// Further groups (`fsGroup` among them).
    pub supplemental_groups: Vec<u32>,
    /// Refuse to start as user 0 (`runAsNonRoot`), also when the image says so by name.
    pub must_not_be_root: bool,
    /// No writing to the image's own files.
    pub readonly_root: bool,
    /// No gaining of privileges by setuid programs.
    pub no_new_privileges: bool,
    /// Capabilities to add to the default set, without `CAP_`; `ALL` for all.
    pub capabilities_add: Vec<String>,
    /// Capabilities to take from the default set.
    pub capabilities_drop: Vec<String>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Its name in the pod.
    pub name: String,
    /// Which try this is: the restart count.
    pub attempt: u32,
    /// The image, as an id that the image store gave.
    pub image: ImageId,
    /// Entry point; empty for the image's own.
    pub command: Vec<String>,
    /// Arguments; empty for the image's own, but not when `command` is set.
    pub args: Vec<String>,
    /// Working directory; `None` for the image's own.
    pub working_dir: Option<String>,
    /// Environment, over the image's own; order kept, later entries win.
    pub env: Vec<(String, String)>,
    /// Bind mounts, outermost first.
    pub mounts: Vec<Mount>,
    /// Keep standard input open for attach.
    pub stdin: bool,
    /// Close it after the first attach is over.
    pub stdin_once: bool,
    /// Run on a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// Who, and what he may do.
    pub security: Security,
    /// File that the log is written to, in the CRI format `<RFC3339Nano> stdout|stderr F|P <text>`.
    pub log_path: PathBuf,
    /// Signal that stops it, such as `SIGTERM`; `None` for the image's own.
    pub stop_signal: Option<String>,
    /// Anything the caller wants back in lists.
    pub labels: BTreeMap<String, String>,
}

/// Names an unpacked image: its config's digest, `sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId(pub String);

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Running.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Over.
    Exited(Exit),
    /// The runtime lost track of it (its shim died): how it ended is not known.
    Unknown,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 plus the number for a signal.
    pub code: i32,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
    /// The kernel ended it for want of memory.
    pub oom_killed: bool,
    /// When it began, if it ever did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Why, for people; empty mostly.
    pub message: String,
}

/// A sandbox as the runtime sees it.
#[derive(Debug, Clone)]
pub struct SandboxStatus {
    /// Its name.
    pub id: SandboxId,
    /// What it was made from.
    pub config: SandboxConfig,
    /// Its namespaces are there and containers can be started.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A container as the runtime sees it.
#[derive(Debug, Clone)]
pub struct ContainerStatus {
    /// Its name.
    pub id: ContainerId,
    /// Where it runs.
    pub sandbox: SandboxId,
    /// What it was made from.
    pub config: ContainerConfig,
    /// Where it stands.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Process id on the host, while it runs.
    pub pid: Option<u32>,
}

/// What happened to a container, by itself or on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// It runs.
    Started {
        /// Which one.
        container: ContainerId,
        /// Its pod's uid.
        pod_uid: String,
    },
    /// It is over.
    Exited {
        /// Which one.
        container: ContainerId,
        /// Its pod's uid.
        pod_uid: String,
        /// How.
        exit: Exit,
    },
}

/// Why the runtime could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such sandbox, container or image.
    #[error("{what} is not there")]
    NotFound {
        /// Which one.
        what: String,
    },
    /// The configuration cannot be run; trying again will not help (kubelet: `CreateContainerConfigError`).
    #[error("{reason}")]
    BadConfig {
        /// What is wrong with it.
        reason: String,
    },
    /// The command could not be started in the container (kubelet: `RunContainerError`).
    #[error("{reason}")]
    Start {
        /// Why.
        reason: String,
    },
    /// The command ran longer than it was given.
    #[error("the command did not end within {timeout:?}")]
    TimedOut {
        /// What it was given.
        timeout: Duration,
    },
    /// The kernel or a file would not.
    #[error("{operation}: {reason}")]
    Failed {
        /// What was tried.
        operation: String,
        /// What came back.
        reason: String,
    },
}

/// The result of a command that was run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i32,
    /// Its standard output, cut at [`EXEC_OUTPUT_BYTES_MAX`].
    pub stdout: Vec<u8>,
    /// Its standard error, cut likewise.
    pub stderr: Vec<u8>,
}

/// Most bytes kept of a probe's or hook's output.
pub const EXEC_OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// What an exec or attach wants connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never with `tty`.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// A running exec or attach.
pub struct Session {
    /// Its standard input; shutting it down is the end of input.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its standard output.
    pub stdout: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Its standard error.
    pub stderr: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Takes (columns, rows).
    pub resize: Option<mpsc::Sender<(u16, u16)>>,
    /// Resolves to the exit code of the command (exec) or of the container (attach).
    pub ended: BoxFuture<'static, Result<i32, RuntimeError>>,
}

/// Sandboxes and containers.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version, as `node.status.nodeInfo.containerRuntimeVersion` shows them: `ordinal://0.1.0`.
    fn version(&self) -> String;

    /// False where containers are only values: nothing may be sent to their addresses, which belong to nobody
    /// or to somebody else. Probes over the network then ask [`Runtime::exec_sync`] instead.
    fn has_network(&self) -> bool {
        true
    }

    /// False where containers are only values, which read and write no files: what is made for them alone
    /// (`/etc/hosts`, logs, last words) need not be made. At scale that is most of what a node would do.
    fn has_files(&self) -> bool {
        true
    }

    /// Everything that happens from now on. Every subscriber gets every event; one that falls behind by
    /// more than a few thousand misses some and must list.
    fn events(&self) -> tokio::sync::broadcast::Receiver<RuntimeEvent>;

    /// Makes a sandbox.
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<SandboxId, RuntimeError>;
    /// Ends every process in a sandbox at once.
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;
    /// Removes a stopped sandbox with its containers; logs stay.
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;
    /// Every sandbox, also those made before a restart.
    async fn list_sandboxes(&self) -> Result<Vec<SandboxStatus>, RuntimeError>;

    /// Makes a container, not running yet.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError>;
    /// Starts it.
    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;
    /// Sends the stop signal, after `grace` SIGKILL, and returns when it is over.
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError>;
    /// Removes a container that is over, with its writable layer.
    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;
    /// Every container, also those made before a restart.
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>, RuntimeError>;
    /// One container.
    async fn container_status(&self, id: &ContainerId) -> Result<ContainerStatus, RuntimeError>;

    /// Runs a command in a container to its end.
    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError>;
    /// Runs a command in a container, connected.
    async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        streams: Streams,
    ) -> Result<Session, RuntimeError>;
    /// Connects to a container's own process.
    async fn attach(&self, id: &ContainerId, streams: Streams) -> Result<Session, RuntimeError>;
}

/// An image that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Names it is known under, each fully qualified (`docker.io/library/redis:alpine`).
    pub tags: Vec<String>,
    /// Digests of its manifests, as `repository@sha256:…`.
    pub digests: Vec<String>,
    /// Bytes of its layers, unpacked.
    pub size_bytes: u64,
    /// It was imported by hand under its names, and not pulled since: it stands for what a registry would
    /// give.
    pub imported: bool,
}

/// Why an image could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The reference is malformed (kubelet: `InvalidImageName`).
    #[error("the image reference {reference:?} is not valid: {reason}")]
    BadReference {
        /// As given.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// It is not here and was not to be pulled (kubelet: `ErrImageNeverPull`).
    #[error("the image {reference} is not here")]
    NotPresent {
        /// Fully qualified.
        reference: String,
    },
    /// The registry does not have it, or would not give it (kubelet: `ErrImagePull`).
    #[error("pull {reference}: {reason}")]
    Pull {
        /// Fully qualified.
        reference: String,
        /// What came back.
        reason: String,
    },
    /// The content is not what its digest says, or would write outside its directory, or is too large.
    #[error("the image content is refused: {reason}")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
    /// A file would not.
    #[error("{operation}: {reason}")]
    Failed {
        /// What was tried.
        operation: String,
        /// What came back.
        reason: String,
    },
}

/// User name and password, or a token, for one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// The images of a node.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// The image under this reference, if it is here.
    async fn image(&self, reference: &str) -> Result<Option<Image>, ImageError>;
    /// Gets it from its registry, or a mirror, even if an image of that name is here.
    async fn pull(&self, reference: &str, auth: Option<RegistryAuth>) -> Result<Image, ImageError>;
    /// Every image that is here.
    async fn list(&self) -> Result<Vec<Image>, ImageError>;
    /// Reads an OCI archive (a tar file with `index.json`, or a docker one with `manifest.json`).
    async fn import(&self, archive: PathBuf) -> Result<Vec<Image>, ImageError>;
    /// Forgets an image; layers nobody else uses are removed.
    async fn remove(&self, id: &ImageId) -> Result<(), ImageError>;
}
