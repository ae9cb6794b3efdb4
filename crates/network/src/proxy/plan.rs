//! Which rules differ, as an nftables script.
//!
//! Pure. Each service port has a chain of its own; a map from address, protocol and port leads to it. A
//! changed port costs its own chain, however many services there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::config::NetworkConfig;
use crate::conntrack::Kept;
use crate::nft;
use crate::proxy::view::{Backends, Frontend, Key, Protocol, ServiceRules};

/// What the kernel shows: the rules of each service that has any.
pub type Applied = BTreeMap<Key, ServiceRules>;

/// The script that makes the table from nothing, with every service in it.
pub fn whole(config: &NetworkConfig, wanted: &Applied) -> String {
    let mut script = nft::remove_table(&config.services_table());
    script.push_str(&base(config));
    let none = Applied::new();
    script.push_str(&changes(config, &none, wanted));
    script
}

/// The script that turns the rules of these services from `applied` into `wanted`; empty when nothing
/// differs. A service with no rules is in neither map.
pub fn changes(config: &NetworkConfig, applied: &Applied, wanted: &Applied) -> String {
    let table = config.services_table();
    let mut script = Script { table: &table, config, removals: String::new(), additions: String::new() };
    let keys: BTreeSet<&Key> = applied.keys().chain(wanted.keys()).collect();
    let none = ServiceRules::new();
    for key in keys {
        let old = applied.get(key).unwrap_or(&none);
        let new = wanted.get(key).unwrap_or(&none);
        for (frontend, backends) in old {
            if new.get(frontend) != Some(backends) {
                script.remove(frontend, backends);
            }
        }
        for (frontend, backends) in new {
            if old.get(frontend) != Some(backends) {
                script.add(frontend, backends);
            }
        }
    }
    // Removals first: an address may move from one service to another in one step.
    script.removals + &script.additions
}

/// UDP ports whose flows may lead to somebody they should not lead to any more, with whom they may lead to:
/// ports that lost an endpoint, and those that are new, to which flows may have begun before.
pub fn broken_flows(applied: &Applied, wanted: &Applied) -> Kept {
    let udp = |services: &Applied| -> BTreeMap<Frontend, Backends> {
        let ports = services.values().flatten();
        ports
            .filter(|(frontend, _)| frontend.protocol == Protocol::Udp)
            .map(|(frontend, backends)| (*frontend, backends.clone()))
            .collect()
    };
    let (old, new) = (udp(applied), udp(wanted));
    let frontends: BTreeSet<&Frontend> = old.keys().chain(new.keys()).collect();
    let mut broken = Kept::new();
    for frontend in frontends {
        let now = new.get(frontend).map(|backends| backends.endpoints.clone()).unwrap_or_default();
        let lost_none = old.get(frontend).is_some_and(|backends| backends.endpoints.is_subset(&now));
        if !lost_none {
            broken.insert((frontend.address, frontend.port), now);
        }
    }
    broken
}

struct Script<'a> {
    table: &'a str,
    config: &'a NetworkConfig,
    removals: String,
    additions: String,
}

impl Script<'_> {
    fn remove(&mut self, frontend: &Frontend, backends: &Backends) {
        let (table, element, chain) = (self.table, element(frontend), chain(frontend));
        let out = &mut self.removals;
        let result = if backends.endpoints.is_empty() {
            writeln!(out, "delete element ip {table} unserved {{ {element} }}")
        } else {
            writeln!(
                out,
                "delete element ip {table} services {{ {element} : goto {chain} }}\n\
                 flush chain ip {table} {chain}\ndelete chain ip {table} {chain}"
            )
        };
        result.expect("writing to a string cannot fail");
    }

    fn add(&mut self, frontend: &Frontend, backends: &Backends) {
        let (table, element, chain) = (self.table, element(frontend), chain(frontend));
        let out = &mut self.additions;
        if backends.endpoints.is_empty() {
            writeln!(out, "add element ip {table} unserved {{ {element} }}")
                .expect("writing to a string cannot fail");
            return;
        }
        let protocol = frontend.protocol.text();
        let count = backends.endpoints.len();
        let choice = if backends.sticky { "jhash ip saddr" } else { "numgen random" };
        let targets: Vec<String> = backends
            .endpoints
            .iter()
            .enumerate()
            .map(|(index, (address, port))| format!("{index} : {address} . {port}"))
            .collect();
        let targets = targets.join(", ");
        writeln!(
            out,
            "add chain ip {table} {chain}\n\
             add rule ip {table} {chain} meta l4proto {protocol} \
             dnat ip addr . port to {choice} mod {count} map {{ {targets} }}\n\
             add element ip {table} services {{ {element} : goto {chain} }}"
        )
        .expect("writing to a string cannot fail");
        // A pod that reaches itself through a service must see an address other than its own come back.
        // These stay when endpoints go: they are no more than the node's addresses, and harm nobody.
        for (address, _) in &backends.endpoints {
            if self.config.node_range.contains(address) {
                writeln!(out, "add element ip {table} hairpins {{ {address} . {address} }}")
                    .expect("writing to a string cannot fail");
            }
        }
    }
}

fn element(frontend: &Frontend) -> String {
    format!("{} . {} . {}", frontend.address, frontend.protocol.text(), frontend.port)
}

fn chain(frontend: &Frontend) -> String {
    let address = frontend.address.to_string().replace('.', "_");
    format!("svc_{address}_{}_{}", frontend.protocol.text(), frontend.port)
}

fn base(config: &NetworkConfig) -> String {
    let table = config.services_table();
    let bridge = config.bridge_name();
    let (pods, services) = (config.pod_range, config.service_range);
    format!(
        "table ip {table} {{
  map services {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  set unserved {{
    type ipv4_addr . inet_proto . inet_service
  }}
  set hairpins {{
    type ipv4_addr . ipv4_addr
  }}
  chain translate {{
    ip daddr {services} meta l4proto {{ tcp, udp }} ip daddr . meta l4proto . th dport vmap @services
  }}
  chain refuse {{
    ip daddr {services} meta l4proto tcp ip daddr . meta l4proto . th dport @unserved reject with tcp reset
    ip daddr {services} meta l4proto udp ip daddr . meta l4proto . th dport @unserved reject
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump translate
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump translate
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr . ip daddr @hairpins masquerade
    ip saddr {pods} ip daddr != {pods} ip daddr != {services} oifname != \"{bridge}\" masquerade
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    jump refuse
  }}
  chain output_filter {{
    type filter hook output priority filter; policy accept;
    jump refuse
  }}
}}
"
    )
}
