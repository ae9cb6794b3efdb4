//! What is said: from a question and the zone to records.
//!
//! Pure; it must never wait, forward or read a clock. Rules are those of the Kubernetes DNS specification
//! 1.1.0, sections 2.3 (cluster services), 2.4 (headless services), 2.5 (external names).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

use crate::zone::{Endpoint, Key, NamedPort, ServiceKind, Zone};

/// Seconds a resolver may keep a record: those CoreDNS gives.
const TTL_SECONDS: u32 = 5;
/// Seconds a resolver may remember that a name does not exist: none, so that a name resolves the moment its
/// pod has an address (RFC 2308, section 5).
const NEGATIVE_TTL_SECONDS: u32 = 0;
/// Version of the DNS schema, served at `dns-version.<domain>`.
const SCHEMA_VERSION: &str = "1.1.0";
/// Longest chain of external names inside the zone.
const CNAME_CHAIN_MAX: usize = 8;

/// What the server is authoritative for.
#[derive(Debug, Clone)]
pub struct Authority {
    domain: Name,
    domain_labels: Vec<String>,
    networks: Vec<IpNet>,
}

impl Authority {
    /// Authoritative for `domain` (`cluster.local`) and for the reverse names of `networks` (the pods' and
    /// the services' ranges). An error when `domain` is not a name.
    pub fn new(domain: &str, networks: Vec<IpNet>) -> Result<Authority, hickory_proto::ProtoError> {
        let mut name = Name::from_ascii(domain)?.to_lowercase();
        name.set_fqdn(true);
        Ok(Authority { domain_labels: labels(&name), domain: name, networks })
    }
}

/// An answer, or where else to ask.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Ours to say.
    Authoritative {
        /// `NoError` or `NXDomain`.
        code: ResponseCode,
        /// The records asked for.
        answers: Vec<Record>,
        /// Addresses of what the answers name.
        additionals: Vec<Record>,
        /// Our own SOA, where there is no answer.
        authorities: Vec<Record>,
        /// A name outside the zone that the last answer leads to, still to be resolved.
        outside: Option<Name>,
    },
    /// Not ours: forward it.
    Elsewhere,
}

enum Found {
    Data(Vec<RData>),
    Alias(Name),
    NoData,
    NoName,
}

/// Answers one question.
pub fn answer(zone: &Zone, authority: &Authority, name: &Name, record_type: RecordType) -> Answer {
    if let Some(address) = reverse_address(name) {
        if !authority.networks.iter().any(|network| network.contains(&address)) {
            return Answer::Elsewhere;
        }
        let found = reverse(zone, authority, address, record_type);
        return finish(zone, authority, name, record_type, found);
    }
    let Some(below) = labels_below(name, &authority.domain_labels) else { return Answer::Elsewhere };
    let found = forward(zone, authority, &below, record_type);
    finish(zone, authority, name, record_type, found)
}

fn finish(
    zone: &Zone,
    authority: &Authority,
    name: &Name,
    record_type: RecordType,
    mut found: Found,
) -> Answer {
    let mut answers = Vec::new();
    let mut additionals = Vec::new();
    let mut owner = name.clone();
    let mut outside = None;
    for _ in 0..CNAME_CHAIN_MAX {
        let Found::Alias(target) = &found else { break };
        let target = target.clone();
        answers.push(Record::from_rdata(owner, TTL_SECONDS, RData::CNAME(CNAME(target.clone()))));
        if record_type == RecordType::CNAME {
            found = Found::Data(Vec::new());
            owner = target;
            break;
        }
        let Some(below) = labels_below(&target, &authority.domain_labels) else {
            outside = Some(target.clone());
            owner = target;
            found = Found::Data(Vec::new());
            break;
        };
        found = forward(zone, authority, &below, record_type);
        owner = target;
    }
    let code = match found {
        Found::Data(data) => {
            for data in data {
                if let RData::SRV(service) = &data {
                    additionals.extend(addresses_of(zone, authority, &service.target));
                }
                answers.push(Record::from_rdata(owner.clone(), TTL_SECONDS, data));
            }
            ResponseCode::NoError
        }
        Found::Alias(_) | Found::NoData => ResponseCode::NoError,
        // An alias exists even when what it leads to does not (RFC 6604, section 2.2: the last code counts).
        Found::NoName => ResponseCode::NXDomain,
    };
    let authorities = if answers.is_empty() { vec![soa(authority)] } else { Vec::new() };
    Answer::Authoritative { code, answers, additionals, authorities, outside }
}

fn forward(zone: &Zone, authority: &Authority, below: &[String], record_type: RecordType) -> Found {
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    match below.as_slice() {
        [] => match record_type {
            RecordType::SOA => Found::Data(vec![soa_data(authority)]),
            RecordType::NS => Found::Data(vec![RData::NS(NS(prefixed(&["ns", "dns"], authority)))]),
            _ => Found::NoData,
        },
        ["dns-version"] => match record_type {
            RecordType::TXT => Found::Data(vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))]),
            _ => Found::NoData,
        },
        ["svc" | "pod"] => Found::NoData,
        [namespace, "svc" | "pod"] if zone.has_namespace(namespace) => Found::NoData,
        [address, namespace, "pod"] => pod(zone, namespace, address, record_type),
        [name, namespace, "svc"] => service(zone, &key(namespace, name), record_type),
        [port, protocol, name, namespace, "svc"] if port.starts_with('_') => {
            ports(zone, authority, &key(namespace, name), port, protocol, record_type)
        }
        [label, name, namespace, "svc"] => {
            let label = (*label).to_owned();
            endpoint(zone, &key(namespace, name), &label, record_type)
        }
        _ => Found::NoName,
    }
}

fn service(zone: &Zone, key: &Key, record_type: RecordType) -> Found {
    let Some(entry) = zone.service(key) else { return Found::NoName };
    match &entry.kind {
        ServiceKind::ClusterIp(addresses) => of_type(addresses.iter().copied(), record_type),
        ServiceKind::Headless => {
            let mut endpoints = zone.endpoints(key).peekable();
            if endpoints.peek().is_none() {
                return Found::NoName;
            }
            of_type(endpoints.map(|endpoint| endpoint.address), record_type)
        }
        ServiceKind::External(target) => match Name::from_ascii(target) {
            Ok(mut target) => {
                target.set_fqdn(true);
                Found::Alias(target)
            }
            Err(_) => Found::NoData,
        },
    }
}

fn endpoint(zone: &Zone, key: &Key, label: &str, record_type: RecordType) -> Found {
    let headless = zone.service(key).is_some_and(|entry| entry.kind == ServiceKind::Headless);
    if !headless {
        // A protocol alone (`_tcp.web.default.svc`) is an empty non-terminal, which exists.
        let exists = zone.service(key).is_some() && matches!(label, "_tcp" | "_udp" | "_sctp");
        return if exists { Found::NoData } else { Found::NoName };
    }
    let mut here = zone.endpoints(key).filter(|endpoint| endpoint.label == label).peekable();
    if here.peek().is_none() {
        return Found::NoName;
    }
    of_type(here.map(|endpoint| endpoint.address), record_type)
}

/// `_port._protocol.service`: SRV records.
fn ports(
    zone: &Zone,
    authority: &Authority,
    key: &Key,
    port: &str,
    protocol: &str,
    record_type: RecordType,
) -> Found {
    let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_')) else {
        return Found::NoName;
    };
    let Some(entry) = zone.service(key) else { return Found::NoName };
    let wanted = |named: &&NamedPort| named.name == port && named.protocol == protocol;
    let targets: Vec<(u16, Name)> = match &entry.kind {
        ServiceKind::ClusterIp(_) => {
            let name = prefixed(&[&key.name, &key.namespace, "svc"], authority);
            entry.ports.iter().filter(wanted).map(|named| (named.port, name.clone())).collect()
        }
        ServiceKind::Headless => {
            let mut targets: Vec<(u16, Name)> = zone
                .endpoints(key)
                .flat_map(|endpoint| {
                    let name = endpoint_name(endpoint, key, authority);
                    let ports = endpoint.ports.iter().filter(wanted);
                    ports.map(|named| (named.port, name.clone())).collect::<Vec<_>>()
                })
                .collect();
            // Both addresses of an endpoint with two families are behind one name.
            targets.sort();
            targets.dedup();
            targets
        }
        ServiceKind::External(_) => Vec::new(),
    };
    if targets.is_empty() {
        return Found::NoName;
    }
    if record_type != RecordType::SRV {
        return Found::NoData;
    }
    // Equal weights, together about 100, as CoreDNS gives them.
    let weight = u16::try_from((100 / targets.len()).max(1)).unwrap_or(1);
    let records = targets.into_iter().map(|(port, name)| RData::SRV(SRV::new(0, weight, port, name)));
    Found::Data(records.collect())
}

/// `10-0-0-1.namespace.pod`: the address that the name spells out.
fn pod(zone: &Zone, namespace: &str, dashed: &str, record_type: RecordType) -> Found {
    if !zone.has_namespace(namespace) {
        return Found::NoName;
    }
    let v4 = dashed.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    let v6 = || dashed.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6);
    match v4.or_else(|_| v6()) {
        Ok(address) => of_type(std::iter::once(address), record_type),
        Err(_) => Found::NoName,
    }
}

fn reverse(zone: &Zone, authority: &Authority, address: IpAddr, record_type: RecordType) -> Found {
    let names: Vec<Name> = match zone.service_at(address) {
        Some(key) => vec![prefixed(&[&key.name, &key.namespace, "svc"], authority)],
        None => zone
            .endpoints_at(address)
            .iter()
            .map(|(label, key)| prefixed(&[label, &key.name, &key.namespace, "svc"], authority))
            .collect(),
    };
    match (names.is_empty(), record_type) {
        (true, _) => Found::NoName,
        (false, RecordType::PTR) => {
            Found::Data(names.into_iter().map(|name| RData::PTR(PTR(name))).collect())
        }
        (false, _) => Found::NoData,
    }
}

fn addresses_of(zone: &Zone, authority: &Authority, name: &Name) -> Vec<Record> {
    let Some(below) = labels_below(name, &authority.domain_labels) else { return Vec::new() };
    [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|record_type| match forward(zone, authority, &below, record_type) {
            Found::Data(data) => Some(data),
            Found::Alias(_) | Found::NoData | Found::NoName => None,
        })
        .flatten()
        .map(|data| Record::from_rdata(name.clone(), TTL_SECONDS, data))
        .collect()
}

fn of_type(addresses: impl Iterator<Item = IpAddr>, record_type: RecordType) -> Found {
    let data: Vec<RData> = addresses
        .filter_map(|address| match (address, record_type) {
            (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(address))),
            (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(address))),
            _ => None,
        })
        .collect();
    if data.is_empty() { Found::NoData } else { Found::Data(data) }
}

fn endpoint_name(endpoint: &Endpoint, key: &Key, authority: &Authority) -> Name {
    prefixed(&[&endpoint.label, &key.name, &key.namespace, "svc"], authority)
}

fn key(namespace: &str, name: &str) -> Key {
    Key { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// `parts` below our domain. Parts are DNS labels by validation; one that is not gives the bare domain.
fn prefixed(parts: &[&str], authority: &Authority) -> Name {
    let below = Name::from_labels(parts.iter().map(|part| part.as_bytes()));
    below
        .and_then(|below| below.append_domain(&authority.domain))
        .unwrap_or_else(|_| authority.domain.clone())
}

fn soa(authority: &Authority) -> Record {
    Record::from_rdata(authority.domain.clone(), NEGATIVE_TTL_SECONDS, soa_data(authority))
}

fn soa_data(authority: &Authority) -> RData {
    let primary = prefixed(&["ns", "dns"], authority);
    let mailbox = prefixed(&["hostmaster"], authority);
    RData::SOA(SOA::new(primary, mailbox, 1, 7200, 1800, 86400, NEGATIVE_TTL_SECONDS))
}

fn labels(name: &Name) -> Vec<String> {
    name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect()
}

/// The labels of `name` in front of `domain`, in lower case; `None` when it is not below it.
fn labels_below(name: &Name, domain: &[String]) -> Option<Vec<String>> {
    let mut all = labels(name);
    if !all.ends_with(domain) {
        return None;
    }
    all.truncate(all.len() - domain.len());
    Some(all)
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for, if it is a whole one.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let mut labels = labels(name);
    if labels.pop()?.as_str() != "arpa" {
        return None;
    }
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

#[cfg(test)]
mod tests;
