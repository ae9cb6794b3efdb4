//! What a cluster keeps on disk, and who may touch it.
//!
//! ```text
//! cluster.json     its id and settings     store/    objects        images/   images
//! lock             who runs it             pki/      certificates   volumes/  volumes of claims
//! control.sock     how to ask it           node/     pods           runtime/  containers
//! kubeconfig       the administrator's     network/  pod addresses
//! ```

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::cli::{DataDirArgument, RuntimeChoice};
use crate::machine_id;

/// What stays the same over the life of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// 8 hexadecimal digits, in the name of everything that is made on this machine.
    pub(crate) id: String,
    pub(crate) node_name: String,
    pub(crate) listen: SocketAddr,
    pub(crate) pod_range: Ipv4Net,
    pub(crate) service_range: Ipv4Net,
    /// What runs its containers: pods of the one are nothing to the other.
    #[serde(default)]
    pub(crate) runtime: RuntimeChoice,
    /// The kubeconfigs in which its administrator's key is, for `ordinal down` to take it out again.
    #[serde(default)]
    pub(crate) kubeconfigs: Vec<PathBuf>,
}

/// What was asked for on the command line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) pod_range: Option<Ipv4Net>,
    pub(crate) service_range: Option<Ipv4Net>,
    pub(crate) runtime: Option<RuntimeChoice>,
}

impl Settings {
    /// Address of the cluster DNS: the tenth of the services' range.
    pub(crate) fn dns_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_range.network()) + 10)
    }

    /// The network of this node. One node gets a /24 of the pods' range, or all of it when it is smaller.
    pub(crate) fn network(&self, data_dir: &DataDir) -> network::config::NetworkConfig {
        let prefix = self.pod_range.prefix_len().max(24);
        let node_range = Ipv4Net::new(self.pod_range.network(), prefix).expect("24 is below 32");
        network::config::NetworkConfig {
            cluster_id: self.id.clone(),
            state_dir: data_dir.path("network"),
            pod_range: self.pod_range,
            node_range,
            service_range: self.service_range,
            dns_address: self.dns_address(),
            mtu: 1500,
        }
    }
}

/// A cluster's directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

/// The right to run a cluster, held until dropped.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl DataDir {
    /// The directory that was asked for, or the default one. It may not be there yet.
    pub(crate) fn find(argument: &DataDirArgument) -> Result<DataDir> {
        let path = match &argument.data_dir {
            Some(path) => path.clone(),
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/ordinal"),
            None => {
                let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(|| {
                    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"))
                });
                base.context("neither HOME nor XDG_DATA_HOME is set; name a directory with --data-dir")?
                    .join("ordinal")
            }
        };
        Ok(DataDir(std::path::absolute(path)?))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the directory, readable for its owner only: it holds keys.
    pub(crate) fn create(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("make the data directory {}", self.0.display()))
    }

    /// The cluster's settings, if there is a cluster.
    pub(crate) fn settings(&self) -> Result<Option<Settings>> {
        let path = self.path("cluster.json");
        match fs::read(&path) {
            Ok(bytes) => {
                let settings = serde_json::from_slice(&bytes).with_context(|| {
                    format!("read {}; restore it or start with an empty --data-dir", path.display())
                })?;
                Ok(Some(settings))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    pub(crate) fn write_settings(&self, settings: &Settings) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(settings)?;
        self.write("cluster.json", &bytes)
    }

    /// Writes a file whole or not at all, readable for its owner only.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_private(&self.path(name), bytes)
    }

    /// Takes the right to run this cluster.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.path("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            bail!(
                "{} is in use already (process {}); stop it, or choose another --data-dir and --listen",
                self.0.display(),
                holder.trim()
            );
        }
        file.set_len(0)?;
        write!(file, "{}", std::process::id())?;
        Ok(Lock(file))
    }

    /// True when some process runs this cluster.
    pub(crate) fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.path("lock")) else { return false };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }
}

/// Writes a file whole or not at all, readable for its owner only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Settings of a new cluster; of an old one what was asked for now, where it may change. Nothing is written.
pub(crate) fn settle(data_dir: &DataDir, asked: Asked) -> Result<Settings> {
    let Some(old) = data_dir.settings()? else {
        let id = u32::from_be_bytes(machine_id::random()?);
        return Ok(Settings {
            id: format!("{id:08x}"),
            node_name: machine_id::node_name(),
            listen: asked.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 6443))),
            pod_range: free_range(asked.pod_range, 244)?,
            service_range: free_range(asked.service_range, 96)?,
            runtime: asked.runtime.unwrap_or_default(),
            kubeconfigs: Vec::new(),
        });
    };
    same(data_dir, "--pod-cidr", asked.pod_range, &old.pod_range)?;
    same(data_dir, "--service-cidr", asked.service_range, &old.service_range)?;
    same(data_dir, "--runtime", asked.runtime, &old.runtime)?;
    Ok(Settings { listen: asked.listen.unwrap_or(old.listen), ..old })
}

/// Refuses what cannot change.
fn same<T: PartialEq + Display>(data_dir: &DataDir, flag: &str, asked: Option<T>, had: &T) -> Result<()> {
    if asked.is_none_or(|asked| asked == *had) {
        return Ok(());
    }
    let path = data_dir.root().display();
    bail!(
        "the cluster in {path} was made with {flag} {had}, which cannot change; leave {flag} out, or name an \
         empty --data-dir for another cluster"
    );
}

/// The range asked for, or the first `10.x.0.0/16` from `first` on that no route of this machine touches.
fn free_range(asked: Option<Ipv4Net>, first: u8) -> Result<Ipv4Net> {
    if let Some(range) = asked {
        if range.prefix_len() > 28 || range.prefix_len() < 8 {
            bail!("the range {range} must have a prefix between /8 and /28");
        }
        return Ok(range.trunc());
    }
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let taken: Vec<Ipv4Net> = routes.lines().skip(1).filter_map(route).collect();
    let candidates = (first..=255).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16));
    let overlaps =
        |one: &Ipv4Net, other: &Ipv4Net| one.contains(&other.network()) || other.contains(&one.network());
    candidates
        .into_iter()
        .find(|candidate| !taken.iter().any(|route| route.prefix_len() > 0 && overlaps(route, candidate)))
        .context(
            "every range is taken by a route of this machine; name one with --pod-cidr and --service-cidr",
        )
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, …, mask as eighth word; addresses are
/// hexadecimal in the machine's byte order.
fn route(line: &str) -> Option<Ipv4Net> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |index: usize| {
        let number = u32::from_str_radix(words.get(index)?, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let mask = address(7)?;
    Ipv4Net::with_netmask(address(1)?, mask).ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let line = "eth0\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        assert_eq!(route(line), Some("10.244.0.0/16".parse().expect("a range")));
    }

    #[test]
    fn settings_are_kept_and_ranges_cannot_change() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = DataDir(directory.path().to_owned());
        let first = settle(&data_dir, Asked::default()).expect("settles");
        assert!(data_dir.settings().expect("reads").is_none(), "nothing is written yet");
        data_dir.write_settings(&first).expect("writes");
        let listen = SocketAddr::from(([127, 0, 0, 1], 7443));
        let second =
            settle(&data_dir, Asked { listen: Some(listen), ..Asked::default() }).expect("settles again");
        assert_eq!((second.id, second.listen), (first.id, listen));
        let other = Some("172.30.0.0/16".parse().expect("a range"));
        settle(&data_dir, Asked { pod_range: other, ..Asked::default() }).expect_err("cannot change");
    }

    #[test]
    fn a_cluster_stays_with_its_runtime() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = DataDir(directory.path().to_owned());
        let asked = |runtime| Asked { runtime, ..Asked::default() };
        let simulated = Some(RuntimeChoice::Simulated);
        data_dir.write_settings(&settle(&data_dir, asked(simulated)).expect("settles")).expect("writes");
        settle(&data_dir, asked(simulated)).expect("the same again");
        let found = settle(&data_dir, asked(None)).expect("the one it has");
        assert_eq!(found.runtime, RuntimeChoice::Simulated);
        let error = settle(&data_dir, asked(Some(RuntimeChoice::Native))).expect_err("another").to_string();
        assert!(
            error.contains("was made with --runtime simulated") && error.contains("--data-dir"),
            "{error}"
        );
    }

    #[test]
    fn a_cluster_runs_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = DataDir(directory.path().to_owned());
        assert!(!data_dir.is_locked());
        let lock = data_dir.lock().expect("locks");
        assert!(data_dir.is_locked());
        let Err(error) = data_dir.lock() else { panic!("locked twice") };
        assert!(error.to_string().contains(&std::process::id().to_string()));
        drop(lock);
        assert!(!data_dir.is_locked());
    }
}
