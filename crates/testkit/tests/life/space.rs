//! A namespace for one test, in a cluster that it shares with the tests that run beside it.
//!
//! It must leave nothing: the namespace goes with the test, the cluster with the last of its users.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use testkit::cluster::{Cluster, DEADLINE, Printed};

/// The cluster of the tests that run now.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
/// Each test has a namespace of its own.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// Pause between two looks at a condition that only kubectl can tell.
const LOOK: Duration = Duration::from_millis(100);

/// A container that does nothing and ends as soon as it is asked to.
pub(crate) const IDLE: &str = r#"["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]"#;

/// A namespace.
pub(crate) struct Space {
    /// Where it is.
    pub(crate) cluster: Arc<Cluster>,
    /// Its name.
    pub(crate) name: String,
}

impl Space {
    /// A new one; `None` where real containers cannot run.
    pub(crate) fn new() -> Option<Space> {
        let cluster = {
            let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(cluster) = shared.upgrade() {
                cluster
            } else {
                let cluster = Arc::new(Cluster::native(&["busybox"])?);
                *shared = Arc::downgrade(&cluster);
                cluster
            }
        };
        let name = format!("life-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster.run(&["create", "namespace", &name]);
        Some(Space { cluster, name })
    }

    /// A kubectl in this namespace, to be given arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.cluster.kubectl_command();
        command.args(["-n", &self.name]).args(arguments);
        command
    }

    /// Runs kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Printed {
        self.with_input(arguments, "").0
    }

    /// Runs kubectl, which must succeed; gives its output without the last line break.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let printed = self.kubectl(arguments);
        assert!(printed.success, "kubectl {}: {}\n{}", arguments.join(" "), printed.stderr, self.overview());
        printed.stdout.trim_end().to_owned()
    }

    /// Runs kubectl with this on its standard input; also says its exit code.
    pub(crate) fn with_input(&self, arguments: &[&str], input: &str) -> (Printed, i32) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl is on the path");
        let mut stdin = child.stdin.take().expect("was asked for");
        // kubectl may have ended without reading: then its own words are what counts.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("kubectl ends");
        let printed = Printed {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        (printed, output.status.code().unwrap_or(-1))
    }

    /// Runs kubectl on a terminal of its own; gives what the terminal showed and the exit code.
    pub(crate) fn on_a_terminal(&self, arguments: &str) -> (String, i32) {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("kubectl -n {} {arguments}", self.name), "/dev/null"]);
        command.env("KUBECONFIG", self.cluster.kubeconfig()).env("SHELL", "/bin/sh").env("TERM", "xterm");
        let output = command.stdin(Stdio::null()).output().expect("script of util-linux is on the path");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap_or(-1))
    }

    /// Applies a manifest.
    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        // What begins with a brace is JSON to kubectl.
        let (printed, _) = self.with_input(&["apply", "-f", "-"], &format!("---\n{manifest}"));
        assert!(printed.success, "kubectl apply: {}\n{manifest}", printed.stderr);
    }

    /// Applies a pod with one container `c` of busybox; `spec` and `container` are more fields of both.
    #[track_caller]
    pub(crate) fn pod(&self, name: &str, command: &str, container: &str, spec: &str) {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {name}}}}}, \
             spec: {{terminationGracePeriodSeconds: 0, {spec} \
             containers: [{{name: c, image: busybox, {container} command: {command}}}]}}}}"
        ));
    }

    /// Runs a shell script in a pod's first container; it must succeed.
    #[track_caller]
    pub(crate) fn exec(&self, pod: &str, script: &str) -> String {
        self.run(&["exec", pod, "--", "sh", "-c", script])
    }

    /// One value by JSONPath; empty when the object or the value is not there.
    pub(crate) fn value(&self, what: &str, path: &str) -> String {
        self.kubectl(&["get", what, "-o", &format!("jsonpath={path}")]).stdout
    }

    /// Names of all of a kind, in order.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        let names = self.run(&["get", kind, "-o", "jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// Waits until `condition` holds.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain until {what}\n{}", self.overview());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until a value is this.
    #[track_caller]
    pub(crate) fn wait_value(&self, what: &str, path: &str, expected: &str) {
        self.wait(&format!("{path} of {what} is {expected}"), || self.value(what, path) == expected);
    }

    /// Waits until an object is not there.
    #[track_caller]
    pub(crate) fn wait_gone(&self, what: &str) {
        self.wait(&format!("{what} is gone"), || self.kubectl(&["get", what]).stderr.contains("NotFound"));
    }

    /// Waits until a pod is ready.
    #[track_caller]
    pub(crate) fn wait_pod(&self, pod: &str) {
        let ready = "{.status.conditions[?(@.type=='Ready')].status}";
        self.wait_value(&format!("pod/{pod}"), ready, "True");
    }

    /// Waits until so many replicas of a set are ready, nothing more is there and the last change was seen.
    #[track_caller]
    pub(crate) fn wait_ready(&self, set: &str, replicas: usize) {
        self.wait(&format!("{replicas} replicas of {set} are ready"), || {
            let path = "{.status.readyReplicas}/{.status.replicas}/{.metadata.generation}/{.status.observedGeneration}";
            let text = self.value(&format!("statefulset/{set}"), path);
            let parts: Vec<&str> = text.split('/').collect();
            // A count of nothing is left out.
            let is = |text: &str| text.parse().unwrap_or(0) == replicas;
            matches!(parts.as_slice(), [ready, all, generation, observed]
                if is(ready) && is(all) && !generation.is_empty() && generation == observed)
        });
    }

    /// Starts a kubectl whose output is read while it runs.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Follower {
        let (child, stdout, send, lines) = self.start(arguments);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Follower { child, lines }
    }

    /// Follows the pods: event, name, revision and readiness of each change.
    pub(crate) fn follow_pods(&self) -> Follower {
        let arguments = ["get", "pods", "-w", "--output-watch-events", "-o", "json"];
        let (child, stdout, send, lines) = self.start(&arguments);
        std::thread::spawn(move || {
            let events = serde_json::Deserializer::from_reader(stdout).into_iter::<serde_json::Value>();
            for event in events.map_while(Result::ok) {
                let pod = &event["object"];
                let conditions = pod["status"]["conditions"].as_array();
                let ready = conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
                let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                let words = [
                    text(&event["type"]),
                    text(&pod["metadata"]["name"]),
                    text(&pod["metadata"]["labels"]["controller-revision-hash"]),
                    ready.to_string(),
                ];
                if send.send(words.join(" ")).is_err() {
                    break;
                }
            }
        });
        Follower { child, lines }
    }

    fn start(&self, arguments: &[&str]) -> (Child, ChildStdout, Sender<String>, Receiver<String>) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("kubectl is on the path");
        let stdout = child.stdout.take().expect("was asked for");
        let (send, lines) = channel();
        (child, stdout, send, lines)
    }

    fn overview(&self) -> String {
        let all = self.kubectl(&["get", "statefulsets,pods,pvc,events", "-o", "wide"]);
        format!("{}{}\n{}", all.stdout, all.stderr, self.cluster.tail())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// A kubectl that prints while it runs; it ends with this value.
pub(crate) struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    /// The next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("one more line")
    }

    /// The lines until one is this, without it.
    #[track_caller]
    pub(crate) fn until(&self, end: impl Fn(&[&str]) -> bool) -> Vec<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split_whitespace().collect();
            if end(&words) {
                return lines;
            }
            lines.push(words.into_iter().map(str::to_owned).collect());
        }
    }

    /// Waits until it has ended by itself; whether it succeeded.
    pub(crate) fn finish(mut self) -> bool {
        while self.lines.recv_timeout(DEADLINE).is_ok() {}
        self.child.try_wait().expect("a child of ours").is_none_or(|status| status.success())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
