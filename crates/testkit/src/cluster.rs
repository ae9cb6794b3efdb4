//! A cluster for one test: the real `ordinal` in a directory of its own, asked with the real kubectl.
//!
//! Whatever happens to the test, the cluster and everything it made is gone afterwards: dropping it runs
//! `ordinal down --delete-data`. It must never touch the user's kubeconfig or another cluster.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything in a test, on a machine that builds something else at the same time.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Pause between two looks at a condition that only kubectl can tell.
const LOOK: Duration = Duration::from_millis(50);

/// Ports that stand for a cluster's ranges: whoever listens on one has them, also among test processes that
/// run at the same time.
const RANGES: std::ops::Range<u16> = 39_064..39_126;

/// A running cluster.
pub struct Cluster {
    directory: tempfile::TempDir,
    process: Option<Child>,
    native: bool,
    port: u16,
    /// Which ranges of addresses are this cluster's.
    number: u16,
    _ranges: TcpListener,
}

/// What a command printed.
#[derive(Debug)]
pub struct Printed {
    /// It ended with 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Cluster {
    /// A cluster with real containers and these images from `target/images`, by archive name (`busybox`).
    /// `None`, said aloud, where this user is not root.
    pub fn native(images: &[&str]) -> Option<Cluster> {
        Cluster::native_with_registries(images, "")
    }

    /// The same, with this text as its `registries.yaml`.
    pub fn native_with_registries(images: &[&str], registries: &str) -> Option<Cluster> {
        if !rustix_is_root() {
            eprintln!("SKIPPED: real containers need root");
            return None;
        }
        let mut cluster = Cluster::prepare(true);
        std::fs::write(cluster.registries(), registries).expect("a file");
        for image in images {
            let archive = image_archive(image);
            let imported = cluster.ordinal(&["image", "import", &archive.display().to_string()]);
            assert!(imported.success, "import {image}: {}", imported.stderr);
        }
        cluster.start();
        Some(cluster)
    }

    /// A cluster whose pods are only values.
    pub fn simulated() -> Cluster {
        let mut cluster = Cluster::prepare(false);
        cluster.start();
        cluster
    }

    fn prepare(native: bool) -> Cluster {
        let directory = tempfile::Builder::new().prefix("ord").tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut free = RANGES.filter_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?)));
        let (taken, ranges) = free.next().expect("fewer clusters than ranges");
        let number = taken - RANGES.start;
        Cluster { directory, process: None, native, port, number, _ranges: ranges }
    }

    /// Starts the process, again after [`Cluster::kill`] or [`Cluster::stop`], and waits until the API
    /// answers.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "the cluster runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut command = Command::new(binary());
        command
            .args(["-v", "up", "--runtime", if self.native { "native" } else { "simulated" }])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--pod-cidr", &format!("10.{}.0.0/16", 128 + self.number)])
            .args(["--service-cidr", &format!("10.{}.0.0/16", 192 + self.number)])
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("--write-kubeconfig")
            .arg(self.kubeconfig())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        if self.native {
            command.arg("--registries").arg(self.registries());
        }
        self.process = Some(command.spawn().expect("ordinal starts"));
        self.wait_for("the API answers", |cluster| {
            cluster.kubeconfig().exists() && cluster.kubectl(&["get", "--raw", "/readyz"]).success
        });
    }

    /// Ends the process at once, as a crash would. Containers stay.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the cluster runs");
        process.kill().expect("SIGKILL");
        process.wait().expect("is over");
    }

    /// Process id of `ordinal up`.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the cluster runs").id()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("d")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// What the process printed.
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Mirrors and credentials of registries.
    fn registries(&self) -> PathBuf {
        self.directory.path().join("registries.yaml")
    }

    /// Runs `ordinal` on this cluster's data directory.
    pub fn ordinal(&self, arguments: &[&str]) -> Printed {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data-dir").arg(self.data_dir());
        command.env("KUBECONFIG", self.directory.path().join("unused"));
        printed(&command.output().expect("ordinal runs"))
    }

    /// A kubectl of this cluster, to be given arguments.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.directory.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Printed {
        printed(&self.kubectl_command().args(arguments).output().expect("kubectl is on the path"))
    }

    /// Runs kubectl, which must succeed; gives its output without the last line break.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let printed = self.kubectl(arguments);
        assert!(printed.success, "kubectl {}: {}\n{}", arguments.join(" "), printed.stderr, self.tail());
        printed.stdout.trim_end().to_owned()
    }

    /// Runs kubectl with a manifest on its standard input; it must succeed.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        use std::io::Write;
        let mut command = self.kubectl_command();
        command.args(["apply", "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl is on the path");
        let mut stdin = child.stdin.take().expect("was asked for");
        stdin.write_all(manifest.as_bytes()).expect("kubectl reads");
        drop(stdin);
        let printed = printed(&child.wait_with_output().expect("kubectl ends"));
        assert!(printed.success, "kubectl apply: {}\n{}", printed.stderr, self.tail());
        printed.stdout
    }

    /// One value by JSONPath; empty when the object or the value is not there.
    pub fn value(&self, what: &str, path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.kubectl(&["get", what, "-o", &path]).stdout
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub fn wait_for(&self, what: &str, condition: impl Fn(&Cluster) -> bool) {
        let deadline = now() + DEADLINE;
        while !condition(self) {
            assert!(now() < deadline, "waited in vain until {what}\n{}\n{}", self.overview(), self.tail());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until so many replicas of a set are ready and nothing more is.
    #[track_caller]
    pub fn wait_ready(&self, set: &str, replicas: usize) {
        self.wait_for(&format!("{replicas} replicas of {set} are ready"), |cluster| {
            let path = "{.status.readyReplicas}/{.status.replicas}/{.metadata.generation}/{.status.observedGeneration}";
            let text = cluster.value(&format!("statefulset/{set}"), path);
            let parts: Vec<&str> = text.split('/').collect();
            // A count of nothing is left out.
            let count = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
            matches!(parts.as_slice(), [ready, all, generation, observed]
                if count(ready) == Some(replicas) && count(all) == Some(replicas) && generation == observed)
        });
    }

    /// Everything there is, for the message of a failed test.
    pub fn overview(&self) -> String {
        let all = self.kubectl(&["get", "statefulsets,pods,pvc,pv,events", "-A", "-o", "wide"]);
        format!("{}{}", all.stdout, all.stderr)
    }

    /// The end of the process's log.
    pub fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Stops the cluster and removes what it made, but for its data; the process has ended afterwards.
    pub fn down(&mut self) {
        let down = self.ordinal(&["down"]);
        assert!(down.success, "down: {}\n{}", down.stderr, self.tail());
        if let Some(mut process) = self.process.take() {
            process.wait().expect("is over");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = self.ordinal(&["down", "--delete-data"]);
        if let Some(mut process) = self.process.take() {
            // It has ended after `down`; where `down` failed it must not outlive the test.
            let _ = process.kill();
            let _ = process.wait();
        }
        if !down.success {
            eprintln!("down: {}", down.stderr);
        }
    }
}

/// The archive of an image that `cargo xtask images` made.
pub fn image_archive(name: &str) -> PathBuf {
    let images = std::env::var_os("ORDINAL_IMAGES").map_or_else(|| target().join("images"), PathBuf::from);
    let archive = images.join(format!("{name}.tar"));
    assert!(archive.exists(), "{} is missing: run cargo xtask images", archive.display());
    archive
}

/// The binary under test: `ORDINAL_BIN`, or the one built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ORDINAL_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("this test's own file");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    profile.join("ordinal")
}

/// Where `cargo xtask images` writes when nothing else is said.
fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two levels up");
    workspace.join("target")
}

fn printed(output: &Output) -> Printed {
    Printed {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn now() -> Instant {
    Instant::now()
}

fn rustix_is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
