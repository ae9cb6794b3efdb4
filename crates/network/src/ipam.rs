//! Which pod has which address.
//!
//! A record is one small file a pod, written before the address is used and removed after it is free, so that
//! a crash can leave an address unused but never used twice.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::pod_network::HostPort;

/// What is recorded of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pod_uid: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) host_ports: Vec<HostPort>,
}

/// The addresses of a node's range.
#[derive(Debug)]
pub(crate) struct Ipam {
    range: Ipv4Net,
    dir: PathBuf,
    by_pod: HashMap<String, Record>,
    by_address: BTreeMap<Ipv4Addr, String>,
    /// Where the search for a free address goes on: an address is used again as late as possible.
    next: u32,
}

impl Ipam {
    /// Reads the records of an earlier run.
    pub(crate) fn open(range: Ipv4Net, dir: &Path) -> io::Result<Ipam> {
        fs::create_dir_all(dir)?;
        let mut ipam =
            Ipam { range, dir: dir.to_owned(), by_pod: HashMap::new(), by_address: BTreeMap::new(), next: 0 };
        for file in fs::read_dir(dir)? {
            let path = file?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                // Half-written by a run that was killed; its address was never used.
                fs::remove_file(&path)?;
                continue;
            }
            let record: Record = serde_json::from_slice(&fs::read(&path)?).map_err(io::Error::other)?;
            ipam.insert(record);
        }
        Ok(ipam)
    }

    pub(crate) fn get(&self, pod_uid: &str) -> Option<&Record> {
        self.by_pod.get(pod_uid)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.by_pod.values()
    }

    /// The pod's record, with a new address if it has none. `None` when the range is used up.
    pub(crate) fn allocate(&mut self, pod_uid: &str, host_ports: &[HostPort]) -> io::Result<Option<Record>> {
        if let Some(record) = self.by_pod.get(pod_uid) {
            return Ok(Some(record.clone()));
        }
        let Some(address) = self.free() else { return Ok(None) };
        let record = Record { pod_uid: pod_uid.to_owned(), address, host_ports: host_ports.to_vec() };
        self.write(&record)?;
        self.next = u32::from(address) - u32::from(self.range.network()) + 1;
        self.insert(record.clone());
        Ok(Some(record))
    }

    /// Frees the pod's address.
    pub(crate) fn release(&mut self, pod_uid: &str) -> io::Result<()> {
        match fs::remove_file(self.path(pod_uid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(record) = self.by_pod.remove(pod_uid) {
            self.by_address.remove(&record.address);
        }
        Ok(())
    }

    fn insert(&mut self, record: Record) {
        self.by_address.insert(record.address, record.pod_uid.clone());
        self.by_pod.insert(record.pod_uid.clone(), record);
    }

    /// A free address: not the network's own, not the gateway (the first), not the broadcast one.
    fn free(&self) -> Option<Ipv4Addr> {
        let network = u32::from(self.range.network());
        let size = u32::from(self.range.broadcast()) - network;
        let usable = size.checked_sub(2)?;
        (0..usable)
            .map(|step| 2 + (self.next.saturating_sub(2) + step) % usable)
            .map(|offset| Ipv4Addr::from(network + offset))
            .find(|address| !self.by_address.contains_key(address))
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.pod_uid);
        let partial = path.with_extension("partial");
        let mut file = fs::File::create(&partial)?;
        file.write_all(&serde_json::to_vec(record).map_err(io::Error::other)?)?;
        fs::rename(partial, path)
    }

    fn path(&self, pod_uid: &str) -> PathBuf {
        self.dir.join(format!("{pod_uid}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Ipam {
        Ipam::open("10.1.2.0/29".parse().expect("a range"), dir).expect("opens")
    }

    #[test]
    fn addresses_are_given_once_and_used_again_as_late_as_possible() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut ipam = open(dir.path());
        let mut given = Vec::new();
        for pod in ["a", "b", "c", "d", "e"] {
            given.push(ipam.allocate(pod, &[]).expect("writes").expect("has room").address);
        }
        let hosts: Vec<u8> = given.iter().map(|address| address.octets()[3]).collect();
        assert_eq!(hosts, [2, 3, 4, 5, 6]);
        assert_eq!(ipam.allocate("f", &[]).expect("writes"), None);
        ipam.release("b").expect("frees");
        ipam.release("d").expect("frees");
        let again = ipam.allocate("g", &[]).expect("writes").expect("has room");
        assert_eq!(again.address.octets()[3], 3);
    }

    #[test]
    fn a_pod_keeps_its_address_over_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = open(dir.path()).allocate("a", &[]).expect("writes").expect("has room");
        fs::write(dir.path().join("b.partial"), b"{").expect("writes");
        let mut again = open(dir.path());
        assert_eq!(again.allocate("a", &[]).expect("writes"), Some(first));
        assert_eq!(again.records().count(), 1);
    }
}
