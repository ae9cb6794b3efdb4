//! A pod network that is only values: addresses without interfaces, for the simulated runtime.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ipnet::Ipv4Net;

use crate::pod_network::{Attachment, HostPort, NetworkError, PodNetwork};

/// Gives each pod the next address of a range.
pub struct SimulatedNetwork {
    range: Ipv4Net,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_pod: BTreeMap<String, Ipv4Addr>,
    taken: BTreeMap<Ipv4Addr, ()>,
    next: u32,
}

impl SimulatedNetwork {
    /// Gives addresses of `range`, from its second on.
    pub fn new(range: Ipv4Net) -> SimulatedNetwork {
        SimulatedNetwork { range, state: Mutex::default() }
    }

    fn attachment(pod_uid: &str, address: Ipv4Addr) -> Attachment {
        Attachment {
            pod_uid: pod_uid.to_owned(),
            namespace_path: PathBuf::from("/nonexistent"),
            addresses: vec![IpAddr::V4(address)],
        }
    }
}

#[async_trait]
impl PodNetwork for SimulatedNetwork {
    async fn attach(&self, pod_uid: &str, _host_ports: &[HostPort]) -> Result<Attachment, NetworkError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = state.by_pod.get(pod_uid) {
            return Ok(SimulatedNetwork::attachment(pod_uid, *address));
        }
        let network = u32::from(self.range.network());
        let usable = (u32::from(self.range.broadcast()) - network).saturating_sub(2);
        let free = (0..usable)
            .map(|step| (state.next.wrapping_add(step)) % usable)
            .find(|offset| !state.taken.contains_key(&Ipv4Addr::from(network + 2 + offset)));
        let Some(offset) = free else {
            return Err(NetworkError::NoAddress { range: self.range.to_string() });
        };
        let address = Ipv4Addr::from(network + 2 + offset);
        state.next = offset + 1;
        state.taken.insert(address, ());
        state.by_pod.insert(pod_uid.to_owned(), address);
        Ok(SimulatedNetwork::attachment(pod_uid, address))
    }

    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = state.by_pod.remove(pod_uid) {
            state.taken.remove(&address);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Attachment>, NetworkError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = state.by_pod.iter();
        Ok(pods.map(|(pod, address)| SimulatedNetwork::attachment(pod, *address)).collect())
    }
}
