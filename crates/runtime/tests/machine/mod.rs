//! A native runtime in a directory and a cluster of its own, removed whatever happens to the test.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::clock::Clock;
use oci_spec::image::ImageConfiguration;
use runtime::api::{
    ContainerConfig, ContainerId, ContainerState, Exit, ImageError, ImageId, Resources, Runtime,
    SandboxConfig, SandboxId, Security,
};
use runtime::native::NativeRuntime;
use runtime::rootfs::Layers;

/// Everything here is over within this, on a machine shared with others.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// One image of one layer: busybox under all its names, with two users. An image id `sha256:user=NAME` is the
/// same image with that `USER`.
pub(crate) struct Busybox(PathBuf);

impl Busybox {
    pub(crate) fn unpack(directory: &Path) -> Busybox {
        let binary = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let binary = binary.expect("these tests need Debian's package busybox-static");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
            std::fs::create_dir_all(directory.join(name)).unwrap();
        }
        std::fs::copy(binary, directory.join("bin/busybox")).unwrap();
        std::fs::set_permissions(directory.join("bin/busybox"), PermissionsExt::from_mode(0o755)).unwrap();
        let applets =
            "sh echo cat sleep id stty tty hostname env pwd kill head dd mount ls touch printf true false";
        for applet in applets.split(' ') {
            symlink("busybox", directory.join("bin").join(applet)).unwrap();
        }
        std::fs::write(
            directory.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nredis:x:999:1000::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(directory.join("etc/group"), "root:x:0:\nredis:x:1000:\nextra:x:101:redis\n").unwrap();
        Busybox(directory.to_owned())
    }
}

impl Layers for Busybox {
    fn image_config(&self, id: &ImageId) -> Result<ImageConfiguration, ImageError> {
        let user = id.0.strip_prefix("sha256:user=").unwrap_or("");
        let value = serde_json::json!({
            "architecture": "amd64", "os": "linux", "history": [],
            "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["/bin/sh"], "User": user},
        });
        Ok(serde_json::from_value(value).unwrap())
    }

    fn layer_dirs(&self, _: &ImageId) -> Result<Vec<PathBuf>, ImageError> {
        Ok(vec![self.0.clone()])
    }
}

pub(crate) struct Machine {
    pub directory: tempfile::TempDir,
    pub cluster: String,
    pub runtime: NativeRuntime,
    layers: Arc<dyn Layers>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Machine {
    pub(crate) fn new() -> Machine {
        let directory = tempfile::tempdir().unwrap();
        let cluster = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let layers: Arc<dyn Layers> = Arc::new(Busybox::unpack(&directory.path().join("layer")));
        let runtime = open(&directory.path().join("r"), &cluster, layers.clone());
        Machine { directory, cluster, runtime, layers }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("r")
    }

    /// What a new agent process would have.
    pub(crate) fn reopen(&self) -> NativeRuntime {
        open(&self.root(), &self.cluster, self.layers.clone())
    }

    pub(crate) fn sandbox_config(&self) -> SandboxConfig {
        sandbox_config()
    }

    pub(crate) async fn sandbox(&self) -> SandboxId {
        self.runtime.run_sandbox(self.sandbox_config()).await.unwrap()
    }

    pub(crate) fn config(&self, name: &str, script: &str) -> ContainerConfig {
        container_config(name, script, self.log_path(name))
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(format!("{name}.log"))
    }

    /// The text of a container's log, without times.
    pub(crate) fn log(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.log_path(name)).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    pub(crate) async fn start(&self, sandbox: &SandboxId, config: ContainerConfig) -> ContainerId {
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    pub(crate) async fn run(&self, sandbox: &SandboxId, config: ContainerConfig) -> Exit {
        let id = self.start(sandbox, config).await;
        ended(&self.runtime, &id).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let purged = NativeRuntime::purge(&self.root(), &self.cluster);
        if !std::thread::panicking() {
            purged.unwrap();
        }
    }
}

/// A pod that asks for nothing special.
pub(crate) fn sandbox_config() -> SandboxConfig {
    SandboxConfig {
        namespace: "default".to_owned(),
        name: "pod-0".to_owned(),
        uid: "uid-0".to_owned(),
        attempt: 0,
        hostname: "pod-0".to_owned(),
        network_namespace: None,
        host_pid: false,
        host_ipc: false,
        share_process_namespace: false,
        sysctls: BTreeMap::new(),
        resources: Resources::default(),
        labels: BTreeMap::new(),
    }
}

/// A container that runs a script.
pub(crate) fn container_config(name: &str, script: &str, log_path: PathBuf) -> ContainerConfig {
    ContainerConfig {
        name: name.to_owned(),
        attempt: 0,
        image: ImageId("sha256:busybox".to_owned()),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        args: Vec::new(),
        working_dir: None,
        env: Vec::new(),
        mounts: Vec::new(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: Security::default(),
        log_path,
        stop_signal: None,
        labels: BTreeMap::new(),
    }
}

/// The layers that [`Busybox::unpack`] has put into a directory before.
pub(crate) fn layers(directory: &Path) -> Arc<dyn Layers> {
    Arc::new(Busybox(directory.to_owned()))
}

/// Opens the runtime of a directory, as an agent does when it starts.
pub(crate) fn open(root: &Path, cluster: &str, layers: Arc<dyn Layers>) -> NativeRuntime {
    let shim = PathBuf::from(env!("CARGO_BIN_EXE_shim"));
    NativeRuntime::new(root.to_owned(), cluster.to_owned(), layers, shim, Arc::new(SystemClock)).unwrap()
}

/// Waits for a container's end.
pub(crate) async fn ended(runtime: &NativeRuntime, id: &ContainerId) -> Exit {
    let mut events = runtime.events();
    let wait = async {
        loop {
            if let ContainerState::Exited(exit) = runtime.container_status(id).await.unwrap().state {
                return exit;
            }
            events.recv().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the container ends")
}

/// Waits until something holds that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "{what} did not come to hold");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Everything on the machine that names a directory or a cluster: mounts, cgroups, processes.
pub(crate) fn traces(directory: &Path, cluster: &str) -> Vec<String> {
    let place = directory.to_string_lossy().into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut found: Vec<String> =
        mounts.lines().filter(|line| line.contains(&place)).map(str::to_owned).collect();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(&place) && line.contains("__") {
            found.push(line);
        }
    }
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(next) = pending.pop() {
        for child in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                if child.file_name().to_string_lossy() == cluster {
                    found.push(child.path().display().to_string());
                }
                pending.push(child.path());
            }
        }
    }
    found
}
