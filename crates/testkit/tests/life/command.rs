//! The commands as a person or a script meets them: exit codes, what is printed, what is left behind.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testkit::cluster::{Cluster, binary, image_archive};

const MANIFEST: &str = "\
{apiVersion: v1, kind: Service, metadata: {name: w}, spec: {clusterIP: None, selector: {app: w}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: w, labels: {kept: yes-it-is, dropped: soon}}
spec:
  serviceName: w
  selector: {matchLabels: {app: w}}
  template:
    metadata: {labels: {app: w}}
    spec: {containers: [{name: c, image: sim/ok, resources: {limits: {memory: 0.5Gi}}}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

/// A directory for commands of one test.
struct Place(tempfile::TempDir);

/// What a command came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Place {
        Place(tempfile::Builder::new().prefix("ord").tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("writes");
        self.path(name).display().to_string()
    }

    /// A command on the data directory `d` of this place.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data-dir").arg(self.path("d"));
        command.env("KUBECONFIG", self.path("users")).env("HOME", self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments))
    }

    /// `ordinal up` without containers, on a port of its own.
    fn up(&self, arguments: &[&str]) -> Up {
        let mut command = self.command(&["up", "--runtime", "simulated", "--listen", "127.0.0.1:0"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Up(command.spawn().expect("starts"))
    }
}

fn ended(mut command: Command) -> Ended {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().expect("runs");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running `ordinal up`.
struct Up(Child);

impl Up {
    /// Waits until it says that it is ready; gives what it printed so far.
    fn ready(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("was asked for");
        let mut printed = Vec::new();
        let mut byte = [0];
        while !printed.ends_with(b"\n") || !String::from_utf8_lossy(&printed).contains("\nready ") {
            assert_eq!(stdout.read(&mut byte).expect("reads"), 1, "it ended before it was ready");
            printed.push(byte[0]);
        }
        String::from_utf8_lossy(&printed).into_owned()
    }

    /// Ends it as Ctrl-C does; gives its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let killed = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        assert!(killed.expect("kill is on the path").success());
        self.0.wait().expect("ends").code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[test]
fn a_manifest_that_is_refused_ends_up_with_1_and_says_why() {
    let place = Place::new();
    let bad = place.file("bad.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: Not-A-Name}}");
    let up = ["up", "--runtime", "simulated", "--listen", "127.0.0.1:0", "-f", &bad];
    let refused = place.run(&up);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("apply ConfigMap \"Not-A-Name\""), "{}", refused.stderr);
    assert!(refused.stderr.contains("a lowercase RFC 1123 subdomain"), "{}", refused.stderr);
    place.file("bad.yaml", "{apiVersion: v1, kind: Nothing, metadata: {name: n}}");
    let unknown = place.run(&up);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("no kind Nothing is served"), "{}", unknown.stderr);
}

#[test]
fn a_manifest_applied_again_is_unchanged_and_what_is_left_out_goes() {
    let place = Place::new();
    let manifest = place.file("m.yaml", MANIFEST);
    let mut up = place.up(&["-f", &manifest, "--wait"]);
    let printed = up.ready();
    assert!(printed.contains("service/w created") && printed.contains("statefulset/w created"), "{printed}");
    assert_eq!(up.interrupt(), Some(0));
    let mut up = place.up(&["-f", &manifest]);
    let printed = up.ready();
    assert!(
        printed.contains("service/w unchanged") && printed.contains("statefulset/w unchanged"),
        "{printed}"
    );
    up.interrupt();
    place.file("m.yaml", &MANIFEST.replace(", dropped: soon", ""));
    let mut up = place.up(&["-f", &manifest]);
    let printed = up.ready();
    assert!(
        printed.contains("service/w unchanged") && printed.contains("statefulset/w configured"),
        "{printed}"
    );
    let mut kubectl = Command::new("kubectl");
    kubectl.env("KUBECONFIG", place.path("users"));
    kubectl.args(["get", "statefulset", "w", "-o", "jsonpath={.metadata.labels}"]);
    assert_eq!(ended(kubectl).stdout, r#"{"kept":"yes-it-is"}"#);
}

#[test]
fn exit_codes_are_as_help_says() {
    let place = Place::new();
    assert_eq!(place.run(&["status"]).code, Some(3));
    assert_eq!(place.run(&["down"]).code, Some(0), "no cluster is no failure");
    assert_eq!(place.run(&["up", "--no-such-flag"]).code, Some(64));
    assert_eq!(place.run(&["status", "deployment/x"]).code, Some(3), "there is no cluster to ask");
    assert_eq!(place.run(&["image", "import", "/nofile.tar"]).code, Some(1));
    let help = ended({
        let mut command = Command::new(binary());
        command.arg("--help");
        command
    });
    assert_eq!(help.code, Some(0));
    let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["0 done", "1 failed", "2 plan found", "3 no cluster", "64 the command line"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let mut up = place.up(&[]);
    up.ready();
    assert_eq!(place.run(&["status"]).code, Some(0));
    assert_eq!(place.run(&["status", "deployment/x"]).code, Some(1));
    assert_eq!(up.interrupt(), Some(0));
    assert_eq!(place.run(&["status"]).code, Some(3));
}

#[test]
fn output_is_plain_unless_it_is_a_terminal_that_wants_colour() {
    let place = Place::new();
    let plain = place.run(&["up", "-f", "/nofile"]);
    assert!(plain.stderr.starts_with("error: ") && !plain.stderr.contains('\x1b'), "{:?}", plain.stderr);
    let check = place.run(&["check"]);
    assert!(!check.stdout.contains('\x1b'), "{:?}", check.stdout);
    // A terminal of its own, with and without the wish for no colour.
    let on_a_terminal = |no_colour: Option<&str>| {
        let line = format!("{} up -f /nofile", binary().display());
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.env_remove("NO_COLOR").stdin(Stdio::null());
        if let Some(value) = no_colour {
            command.env("NO_COLOR", value);
        }
        ended(command).stdout
    };
    assert!(on_a_terminal(None).contains("\x1b["), "colour on a terminal");
    assert!(on_a_terminal(Some("")).contains("\x1b["), "an empty NO_COLOR is none (no-color.org)");
    assert!(!on_a_terminal(Some("1")).contains('\x1b'), "NO_COLOR is honoured");
}

#[test]
fn the_key_is_in_private_files_only_and_down_takes_it_out_again() {
    let place = Place::new();
    let own = place.path("sub/own").display().to_string();
    let mut up = place.up(&["--write-kubeconfig", &own]);
    up.ready();
    assert_eq!(mode(Path::new(&own)), 0o600);
    assert!(!place.path("users").exists(), "the user's own is left alone");
    up.interrupt();
    place.file("users", "{apiVersion: v1, kind: Config, clusters: [{name: work, cluster: {}}]}");
    let mut up = place.up(&[]);
    up.ready();
    assert_eq!(mode(&place.path("users")), 0o600);
    let users = std::fs::read_to_string(place.path("users")).expect("is there");
    assert!(users.contains("work") && users.contains("client-key-data"));
    let refused = place.run(&["up", "--write-kubeconfig", &place.path("users").display().to_string()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the cluster work"), "{}", refused.stderr);
    // The other way round: what a user's environment was at the start is remembered, not asked again.
    let mut down = place.command(&["down"]);
    down.env("KUBECONFIG", place.path("elsewhere"));
    assert_eq!(ended(down).code, Some(0));
    assert_eq!(up.0.wait().expect("ends").code(), Some(0));
    assert!(!Path::new(&own).exists(), "a file of its own goes");
    let users = std::fs::read_to_string(place.path("users")).expect("the user's stays");
    assert!(users.contains("work") && !users.contains("client-key-data"), "{users}");
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let runtime = ["up", "--runtime", "simulated"];
    let port = place.run(&[&runtime[..], &["--listen", &address]].concat());
    assert_eq!(port.code, Some(1));
    let holder = format!("process {} (", std::process::id());
    assert!(port.stderr.contains(&holder) && port.stderr.contains("--listen"), "{}", port.stderr);
    assert!(!place.path("d").exists(), "nothing is left of a cluster that could not listen");
    for wrong in [["-f", "/nofile"], ["--registries", "/nofile"], ["--pod-cidr", "10.0.0.0/30"]] {
        assert_eq!(place.run(&[&runtime[..], &wrong].concat()).code, Some(1), "{wrong:?}");
        assert!(!place.path("d").exists(), "{wrong:?}");
    }
    assert_eq!(place.run(&["image", "import", "/nofile.tar"]).code, Some(1));
    assert!(!place.path("d").exists(), "nothing is left of an import that failed");
    assert!(!place.path("users").exists());
}

#[test]
fn a_cluster_is_started_with_the_runtime_that_it_was_made_with() {
    let place = Place::new();
    let mut up = place.up(&[]);
    up.ready();
    let second = place.run(&["up", "--runtime", "simulated"]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains(&format!("process {}", up.0.id())), "{}", second.stderr);
    up.interrupt();
    let other = place.run(&["up", "--runtime", "native"]);
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("was made with --runtime simulated"), "{}", other.stderr);
}

#[test]
fn an_image_is_imported_after_a_try_that_failed() {
    let place = Place::new();
    let whole = std::fs::read(image_archive("busybox")).expect("is there");
    let archive = place.path("busybox.tar");
    std::fs::write(&archive, &whole[..whole.len() / 2]).expect("writes");
    let import = ["image", "import", &archive.display().to_string()];
    let cut = place.run(&import);
    assert_eq!(cut.code, Some(1));
    assert!(cut.stderr.contains("busybox.tar"), "{}", cut.stderr);
    std::fs::write(&archive, &whole).expect("writes");
    let imported = place.run(&import);
    assert_eq!((imported.code, imported.stderr.as_str()), (Some(0), ""));
    assert!(place.run(&["image", "list"]).stdout.contains("busybox"));
}

#[test]
fn an_image_that_is_imported_while_the_cluster_runs_starts_the_pods_that_wait_for_it() {
    // A registry that nobody serves, so that the pull fails here and not somewhere outside.
    let nowhere = "mirrors: {docker.io: {endpoint: [\"http://127.0.0.1:1\"]}}\n";
    let Some(cluster) = Cluster::native_with_registries(&[], nowhere) else { return };
    for (name, policy) in [("pulls", "IfNotPresent"), ("never", "Never")] {
        cluster.apply(&format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, \
             containers: [{{name: c, image: busybox, imagePullPolicy: {policy}, command: [sleep, \"1000000\"]}}]}}}}"
        ));
    }
    let waiting = "{.status.containerStatuses[0].state.waiting.reason}";
    cluster.wait_for("one waits for its image", |cluster| {
        cluster.value("pod/pulls", waiting) == "ImagePullBackOff"
            && cluster.value("pod/never", waiting) == "ErrImageNeverPull"
    });
    assert!(!cluster.ordinal(&["image", "list"]).stdout.contains("busybox"));
    let imported = cluster.ordinal(&["image", "import", &image_archive("busybox").display().to_string()]);
    assert!(imported.success, "{}", imported.stderr);
    assert!(cluster.ordinal(&["image", "list"]).stdout.contains("busybox"));
    cluster.wait_for("both run", |cluster| {
        ["pod/pulls", "pod/never"].iter().all(|pod| cluster.value(pod, "{.status.phase}") == "Running")
    });
}
