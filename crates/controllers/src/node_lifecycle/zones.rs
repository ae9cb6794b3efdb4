//! Zones: when a node's pods may be made to go.
//!
//! One node that falls silent is a broken node; many at once are more likely a broken network, and moving all
//! their pods would break what still works. So nodes of a zone take turns, slowly, the more slowly the more
//! of the zone is away; and while no node at all is well nobody has to go: there is no place to go to. The
//! numbers are upstream's defaults.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

/// Between two nodes of a zone: one tenth of a node a second.
const PAUSE: Duration = Duration::from_secs(10);
/// The same where much of a large zone is away.
const PAUSE_OF_DISRUPTED: Duration = Duration::from_secs(100);
/// More nodes than this make a large zone; of a smaller one that is disrupted nobody has to go.
const LARGE_NODES: usize = 50;
/// So many nodes that are not well in a hundred are a disruption ...
const DISRUPTED_PERCENT: usize = 55;
/// ... if they are more than this.
const DISRUPTED_NODES: usize = 2;

/// Whether a node's pods may be made to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is its turn.
    Now,
    /// It is the turn of others before it.
    After(Duration),
    /// Too much is away.
    Wait,
    /// No node is well.
    Never,
}

/// How many nodes of each zone are well.
#[derive(Debug, Default)]
pub struct Zones {
    zones: HashMap<String, Zone>,
    nodes: HashMap<String, (String, bool)>,
    well: usize,
}

#[derive(Debug, Default)]
struct Zone {
    nodes: usize,
    well: usize,
    last: Option<Timestamp>,
}

impl Zones {
    /// Counts a node, or counts it anew; true when that changed a count.
    pub fn put(&mut self, node: &Node) -> bool {
        let name = node.metadata.name.clone().unwrap_or_default();
        let counted = (zone_of(node), super::taints::readiness(node) == Some("True"));
        if self.nodes.get(&name) == Some(&counted) {
            return false;
        }
        self.remove(&name);
        let zone = self.zones.entry(counted.0.clone()).or_default();
        zone.nodes += 1;
        zone.well += usize::from(counted.1);
        self.well += usize::from(counted.1);
        self.nodes.insert(name, counted);
        true
    }

    /// Counts a node no more.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some((name, is_well)) = self.nodes.remove(name) else { return false };
        self.well -= usize::from(is_well);
        // An empty zone is kept for its last turn: a node that only changes comes back at once. There are
        // never more zones than there were names of zones.
        if let Some(zone) = self.zones.get_mut(&name) {
            zone.nodes -= 1;
            zone.well -= usize::from(is_well);
        }
        true
    }

    /// True when no node is well.
    pub fn is_dark(&self) -> bool {
        self.well == 0
    }

    /// Whether it is a node's turn.
    pub fn turn(&self, name: &str, now: Timestamp) -> Turn {
        if self.is_dark() {
            return Turn::Never;
        }
        let zone = self.nodes.get(name).and_then(|(zone, _)| self.zones.get(zone));
        let Some(zone) = zone else { return Turn::Wait };
        let away = zone.nodes - zone.well;
        let is_disrupted =
            zone.well > 0 && away > DISRUPTED_NODES && away * 100 >= zone.nodes * DISRUPTED_PERCENT;
        let pause = match is_disrupted {
            false => PAUSE,
            true if zone.nodes > LARGE_NODES => PAUSE_OF_DISRUPTED,
            true => return Turn::Wait,
        };
        let passed = zone.last.map(|last| Duration::try_from(now.duration_since(last)).unwrap_or_default());
        match passed.and_then(|passed| pause.checked_sub(passed)).filter(|left| !left.is_zero()) {
            Some(left) => Turn::After(left),
            None => Turn::Now,
        }
    }

    /// A node had its turn.
    pub fn took(&mut self, name: &str, now: Timestamp) {
        if let Some((zone, _)) = self.nodes.get(name)
            && let Some(zone) = self.zones.get_mut(zone)
        {
            zone.last = Some(now);
        }
    }
}

fn zone_of(node: &Node) -> String {
    let label = |key: &str| {
        let labels = node.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(key)).map(String::as_str).unwrap_or_default()
    };
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}
