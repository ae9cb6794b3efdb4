//! `cargo xtask demo`: from a fresh clone to a running Redis set, and what a stateful pod keeps.
//!
//! It builds, makes the images, starts a cluster of its own, writes a key, deletes the pod that has it, and
//! shows that the new pod has the same name, the same claim and the key. Each of these is checked, not only
//! shown: with `--once` it is one of the tests.

use std::env;
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

use crate::cluster::{self, Cluster};
use crate::test::tools;
use crate::{images, process, tree};

/// What the set may take to be ready, on a slow machine; with images at hand it is seconds.
const READY_LIMIT: Duration = Duration::from_secs(180);
const KEY: &str = "greeting";
const VALUE: &str = "kept by redis-0";

#[derive(Args)]
pub(crate) struct Options {
    /// End after the show and remove everything, instead of staying up until Ctrl-C
    #[arg(long)]
    pub(crate) once: bool,
    /// Show this binary instead of building one
    #[arg(long)]
    pub(crate) binary: Option<PathBuf>,
}

/// Shows it; an error when anything was not as promised.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    ensure!(tools::is_root(), "real containers need root; try: sudo -E cargo xtask demo");
    tools::install()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    say("Preparing images");
    let archives = images::build(&tree::images(), &["busybox", "redis"])?;

    let data_dir = cluster::temporary_directory("demo");
    let mut import = Command::new(&binary);
    import.args(["image", "import", "--data-dir"]).arg(&data_dir).args(&archives);
    process::output(&mut import)?;

    say("Starting a cluster with examples/redis.yaml");
    let manifest = tree::root().join("examples/redis.yaml");
    let manifest = manifest.to_str().context("the path of this checkout is not UTF-8")?;
    let mut cluster = Cluster::start(&binary, &data_dir, &["-f", manifest, "--wait"])?;
    watch(&mut cluster, None)?;
    println!("  ready {:.1} s after the start", cluster.started().elapsed().as_secs_f64());

    let before = Identity::of(&cluster)?;
    say(&format!("Writing {KEY:?} into redis-0, then deleting the pod"));
    redis(&cluster, &["set", KEY, VALUE])?;
    process::output(&mut cluster.kubectl(&["delete", "pod", "redis-0"]))?;
    watch(&mut cluster, Some(&before.pod))?;

    let after = Identity::of(&cluster)?;
    ensure!(before.pod != after.pod, "the pod was not replaced");
    ensure!(before.claim == after.claim, "the claim changed: {} became {}", before.claim, after.claim);
    ensure!(before.volume == after.volume, "the volume changed: {} became {}", before.volume, after.volume);
    let value = redis(&cluster, &["get", KEY])?;
    ensure!(value == VALUE, "the key was lost: redis-0 answered {value:?}");
    println!("  pod     {} is now {}", before.pod, after.pod);
    println!("  claim   data-redis-0 is still {}", after.claim);
    println!("  volume  {} is still bound to it", after.volume);
    println!("  key     {KEY} is still {value:?}");
    say("The set");
    println!("{}", table(&cluster)?);

    if options.once {
        cluster.down()?;
        say("Everything is removed again");
        return Ok(true);
    }
    stay(cluster, &binary)
}

fn build() -> anyhow::Result<PathBuf> {
    say("Building (the first time takes some minutes)");
    let mut build = Command::new("cargo");
    build.args(["build", "--package", "ordinal"]).current_dir(tree::root());
    process::run(&mut build)?;
    Ok(tree::binary("debug"))
}

fn say(what: &str) {
    if std::io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none() {
        println!("\x1b[1m{what}\x1b[0m");
    } else {
        println!("{what}");
    }
}

/// What must outlive a pod, and what must not.
struct Identity {
    pod: String,
    claim: String,
    volume: String,
}

impl Identity {
    fn of(cluster: &Cluster) -> anyhow::Result<Identity> {
        let field = |object: &str, field: &str| {
            let path = format!("jsonpath={{{field}}}");
            process::output(&mut cluster.kubectl(&["get", object, "-o", &path]))
        };
        Ok(Identity {
            pod: field("pod/redis-0", ".metadata.uid")?,
            claim: field("pvc/data-redis-0", ".metadata.uid")?,
            volume: field("pvc/data-redis-0", ".spec.volumeName")?,
        })
    }
}

fn redis(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = cluster.kubectl(&["exec", "redis-0", "--", "redis-cli"]);
    process::output(command.args(arguments))
}

fn table(cluster: &Cluster) -> anyhow::Result<String> {
    process::output(&mut cluster.ordinal(&["status", "sts/redis"]))
}

/// Shows the ordinal table while it changes, until every pod is ready and `replaced` is not among them.
fn watch(cluster: &mut Cluster, replaced: Option<&str>) -> anyhow::Result<()> {
    let mut view = View::default();
    cluster.wait("the set was ready", READY_LIMIT, |cluster| {
        let table = table(cluster)?;
        view.show(&table);
        if !table.contains("3 of 3 ready") {
            return Ok(None);
        }
        match replaced {
            Some(old) if Identity::of(cluster)?.pod == old => Ok(None),
            _ => Ok(Some(())),
        }
    })
}

/// A text that is drawn over its previous form on a terminal, and printed once a change elsewhere.
#[derive(Default)]
struct View {
    shown: String,
}

impl View {
    fn show(&mut self, text: &str) {
        // Ages tick; only elsewhere than on a terminal would that be a line a second.
        let headline = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        if std::io::stdout().is_terminal() {
            let lines = self.shown.lines().count();
            if lines > 0 {
                print!("\x1b[{lines}A\x1b[J");
            }
            println!("{text}");
        } else if headline(text) != headline(&self.shown) {
            println!("  {}", headline(text));
        }
        let _ = std::io::stdout().flush();
        text.clone_into(&mut self.shown);
    }
}

/// Says what to try next and gives way to a shell that takes the cluster down on Ctrl-C.
fn stay(cluster: Cluster, binary: &std::path::Path) -> anyhow::Result<bool> {
    say("Try in another terminal");
    let ordinal = binary.display();
    let data_dir = cluster.data_dir().display();
    println!("  export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("  kubectl get pods,pvc -o wide");
    println!("  kubectl scale sts/redis --replicas=5");
    println!("  kubectl exec -it redis-0 -- redis-cli");
    println!(
        "  kubectl run --rm -it --image=busybox probe -- nslookup redis-1.redis.default.svc.cluster.local"
    );
    println!("  {ordinal} status --data-dir {data_dir}");
    say("Ctrl-C ends the cluster and removes everything it made");
    // Nothing here can catch a signal; a shell can. Ordinal gets Ctrl-C from the terminal as well, which only
    // makes it stop earlier.
    let script = "trap : INT TERM HUP; while kill -0 $1 2>/dev/null; do sleep 1; done; \
                  trap '' INT TERM HUP; exec \"$2\" down --delete-data --data-dir \"$3\"";
    let mut guard = Command::new("sh");
    guard.args(["-c", script, "guard"]).arg(cluster.pid().to_string());
    guard.arg(binary).arg(cluster.data_dir()).stdin(Stdio::null());
    let error = guard.exec();
    drop(cluster);
    Err(error).context("start a shell that waits for Ctrl-C")
}
