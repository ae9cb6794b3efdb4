//! A cluster that the demo or the benchmark starts as its own process, and that leaves nothing behind.
//!
//! It touches neither the user's kubeconfig nor any cluster that runs already: own directory, own port.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::process;

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(100);
/// Stopping stops no container, so it is a matter of the API's last answers.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running `ordinal up`.
pub(crate) struct Cluster {
    binary: PathBuf,
    data_dir: PathBuf,
    address: String,
    kubeconfig: PathBuf,
    log: PathBuf,
    child: Child,
    started: Instant,
    down: bool,
    keeps_data: bool,
}

impl Cluster {
    /// Starts a cluster in `data_dir`, which is this cluster's alone and is removed in the end.
    pub(crate) fn start(binary: &Path, data_dir: &Path, arguments: &[&str]) -> anyhow::Result<Cluster> {
        fs::create_dir_all(data_dir).with_context(|| format!("make {}", data_dir.display()))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let kubeconfig = data_dir.join("kubeconfig");
        let log = data_dir.with_extension("log");
        let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let started = Instant::now();
        let child = Command::new(binary)
            .args(["up", "--listen", &address, "--data-dir"])
            .arg(data_dir)
            .arg("--write-kubeconfig")
            .arg(&kubeconfig)
            .args(arguments)
            .env("PATH", process::path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let (binary, data_dir) = (binary.to_owned(), data_dir.to_owned());
        Ok(Cluster {
            binary,
            data_dir,
            address,
            kubeconfig,
            log,
            child,
            started,
            down: false,
            keeps_data: false,
        })
    }

    /// The address of the API.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The process of `ordinal up`.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// `kubectl` for this cluster.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.env("PATH", process::path()).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command.args(arguments);
        command
    }

    /// `ordinal` for this cluster.
    pub(crate) fn ordinal(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data-dir").arg(&self.data_dir).stdin(Stdio::null());
        command
    }

    /// Asks again and again until there is an answer; says what Ordinal wrote when there is none.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut(&Cluster) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let last = match ask(self) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("Ordinal ended with {status} before {what}:\n{}", self.said());
            }
            if Instant::now() > deadline {
                let last = last.map(|error| format!(" ({error:#})")).unwrap_or_default();
                bail!("{what} took more than {} s{last}; Ordinal said:\n{}", limit.as_secs(), self.said());
            }
            std::thread::sleep(POLL);
        }
    }

    /// The last lines Ordinal wrote.
    fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Removes everything the cluster made on this machine.
    pub(crate) fn down(mut self) -> anyhow::Result<()> {
        self.take_down()
    }

    /// Leaves the data directory behind when the cluster goes down; whoever asks for it removes it.
    pub(crate) fn keep_data(&mut self) {
        self.keeps_data = true;
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        self.down = true;
        // Stopped before it is removed: one that is still starting would go on making things.
        process::signal("TERM", &[self.child.id()]);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                process::signal("KILL", &[self.child.id()]);
                self.child.wait()?;
                bail!("Ordinal did not end within {} s and was killed", STOP_LIMIT.as_secs());
            }
            std::thread::sleep(POLL);
        }
        let arguments: &[&str] = if self.keeps_data { &["down"] } else { &["down", "--delete-data"] };
        process::output(&mut self.ordinal(arguments)).context("take the cluster down")?;
        if !self.keeps_data {
            let _ = fs::remove_dir_all(&self.data_dir);
        }
        let _ = fs::remove_file(&self.log);
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.down
            && let Err(error) = self.take_down()
        {
            eprintln!("error: {error:#}");
        }
    }
}

/// A directory for one cluster, with a path short enough for the sockets below it.
pub(crate) fn temporary_directory(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ordinal-{what}-{}", std::process::id()))
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
