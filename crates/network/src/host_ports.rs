//! Ports of the host that lead to a pod (`hostPort`), as nftables rules.
//!
//! The table is small and written whole at every change.

use std::fmt::Write;

use crate::ipam::Record;
use crate::nft;

/// The script that makes the table show exactly `records`.
pub(crate) fn script<'a>(table: &str, records: impl Iterator<Item = &'a Record>) -> String {
    let mut script = nft::remove_table(table);
    let mut elements: Vec<String> = records
        .flat_map(|record| {
            record.host_ports.iter().map(|port| {
                let protocol = if port.udp { "udp" } else { "tcp" };
                let HostPort { host_port, container_port, .. } = port;
                format!("{protocol} . {host_port} : {} . {container_port}", record.address)
            })
        })
        .collect();
    if elements.is_empty() {
        return script;
    }
    elements.sort();
    writeln!(
        script,
        "table ip {table} {{
  map ports {{
    type inet_proto . inet_service : ipv4_addr . inet_service
    elements = {{ {} }}
  }}
  chain translate {{
    fib daddr type local meta l4proto {{ tcp, udp }} dnat ip addr . port to meta l4proto . th dport map @ports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump translate
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump translate
  }}
}}",
        elements.join(", ")
    )
    .expect("writing to a string cannot fail");
    script
}

use crate::pod_network::HostPort;
