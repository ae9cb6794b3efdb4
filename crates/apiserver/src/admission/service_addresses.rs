//! Addresses and node ports of Services.
//!
//! Each one given out is a key of its own in the store, written and removed in the same transaction as the
//! Service, so that two Services can never share one and none is lost, whatever crashes when.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use bytes::Bytes;
use ipnet::Ipv4Net;
use model::field::{Error, Path};
use model::status::Status;
use rand::Rng;
use serde_json::{Value, json};
use store::{Compare, Expected, Op, Template};

use super::{Operation, Plugin, Review};
use crate::api::Api;

const ADDRESSES: &str = "/registry/ordinal/serviceaddresses/";
const NODE_PORTS: &str = "/registry/ordinal/nodeports/";
/// Random draws before every number is tried in order: enough while half of the range is free.
const DRAWS_MAX: usize = 16;
/// The lowest part of the address range is left to those who choose one, as upstream does it:
/// a sixteenth of the range, at least 16, at most 256.
const CHOSEN_MIN: u32 = 16;
const CHOSEN_MAX: u32 = 256;

pub(super) struct ServiceAddresses;

#[async_trait]
impl Plugin for ServiceAddresses {
    async fn mutate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        if review.operation == Operation::Delete || !review.is("", "Service") || !object["spec"].is_object() {
            return Ok(());
        }
        if let Some(old) = old {
            inherit(&mut object["spec"], &old["spec"]);
        }
        let had = old.map(held).unwrap_or_default();
        address(api, review, object, &had)?;
        node_ports(api, review, object, &had)?;
        let holds = held(object);
        let owner = format!("{}/{}", review.address.namespace, review.address.name);
        for key in holds.difference(&had) {
            review.companions.compares.push(Compare { key: key.clone(), expected: Expected::Absent });
            let value = Template { bytes: Bytes::from(owner.clone()), revision_hole: None };
            review.companions.ops.push(Op::Put { key: key.clone(), value, ttl_seconds: None });
        }
        for key in had.difference(&holds) {
            review.companions.ops.push(Op::Delete { key: key.clone(), last: None });
        }
        Ok(())
    }

    fn release(&self, review: &mut Review<'_>, old: &Value) {
        // Finalizers may be gone with this very update, which changed nothing that is held.
        if review.is("", "Service") {
            review.companions.ops.clear();
            review.companions.compares.clear();
            let ops = held(old).into_iter().map(|key| Op::Delete { key, last: None });
            review.companions.ops.extend(ops);
        }
    }
}

/// The keys of everything that a Service holds.
fn held(service: &Value) -> BTreeSet<String> {
    let spec = &service["spec"];
    let addresses = spec["clusterIPs"].as_array().into_iter().flatten().chain([&spec["clusterIP"]]);
    let mut keys: BTreeSet<String> = addresses
        .filter_map(Value::as_str)
        .filter(|address| !matches!(*address, "" | "None"))
        .map(|address| format!("{ADDRESSES}{address}"))
        .collect();
    for port in spec["ports"].as_array().into_iter().flatten() {
        if let Some(number) = port["nodePort"].as_u64().filter(|number| *number > 0) {
            keys.insert(node_port_key(number, protocol(port)));
        }
    }
    keys
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

fn node_port_key(number: u64, protocol: &str) -> String {
    format!("{NODE_PORTS}{protocol}/{number}")
}

/// An update that leaves out what was allocated keeps it.
fn inherit(new: &mut Value, old: &Value) {
    let empty = |value: &Value| matches!(value.as_str(), None | Some("")) && !value.is_array();
    if new["type"] == "ExternalName" {
        if old["type"] != "ExternalName" && new["clusterIP"] == old["clusterIP"] {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                new.as_object_mut().expect("spec is an object").remove(field);
            }
        }
        return;
    }
    if old["type"] != "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if empty(&new[field]) && !old[field].is_null() {
                new[field] = old[field].clone();
            }
        }
    }
    let needs = takes_node_ports(new);
    let before = old["ports"].as_array().cloned().unwrap_or_default();
    for port in new["ports"].as_array_mut().into_iter().flatten() {
        let same = |other: &&Value| other["port"] == port["port"] && protocol(other) == protocol(port);
        match before.iter().find(same).map(|other| other["nodePort"].clone()) {
            Some(number) if needs && port["nodePort"].is_null() && !number.is_null() => {
                port["nodePort"] = number;
            }
            Some(number) if !needs && port["nodePort"] == number => {
                port.as_object_mut().map(|port| port.remove("nodePort"));
            }
            _ => {}
        }
    }
}

fn takes_node_ports(spec: &Value) -> bool {
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn address(api: &Api, review: &Review<'_>, object: &mut Value, had: &BTreeSet<String>) -> Result<(), Status> {
    let spec = &mut object["spec"];
    if spec["type"] == "ExternalName" {
        return Ok(());
    }
    let asked = [&spec["clusterIP"], &spec["clusterIPs"][0]]
        .into_iter()
        .filter_map(Value::as_str)
        .find(|address| !address.is_empty())
        .map(str::to_owned);
    let address = match asked.as_deref() {
        None => free_address(api, review)?,
        Some("None") => "None".to_owned(),
        Some(text) => {
            check_chosen(api, review, text, had)?;
            text.to_owned()
        }
    };
    spec["clusterIP"] = address.as_str().into();
    if !spec["clusterIPs"].is_array() {
        spec["clusterIPs"] = json!([address]);
    }
    let selectorless = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    if !spec["ipFamilies"].is_array() {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    if spec["ipFamilyPolicy"].is_null() {
        let both = address == "None" && selectorless;
        spec["ipFamilyPolicy"] = if both { "RequireDualStack" } else { "SingleStack" }.into();
    }
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        // One range, one family: this is what a cluster with IPv4 alone settles on.
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    Ok(())
}

fn check_chosen(api: &Api, review: &Review<'_>, text: &str, had: &BTreeSet<String>) -> Result<(), Status> {
    let key = format!("{ADDRESSES}{text}");
    if had.contains(&key) {
        return Ok(());
    }
    let refuse = |why: &str| {
        let detail = format!("failed to allocate IP {text}: {why}");
        let error = Error::invalid(&Path::new("spec.clusterIPs"), json!([text]), detail);
        Status::invalid(&review.address.kind.gvk, &review.address.name, &vec![error])
    };
    let range = api.config.service_cidr;
    match text.parse::<Ipv4Addr>() {
        Ok(address) if assignable(range).contains(&u32::from(address)) => {}
        Ok(_) => {
            return Err(refuse(&format!(
                "the provided network does not match the current range: the range of valid IPs is {range}"
            )));
        }
        // The kind's validation says what is wrong with it.
        Err(_) => return Ok(()),
    }
    match api.store.get(&key) {
        None => Ok(()),
        Some(_) => Err(refuse("provided IP is already allocated")),
    }
}

/// The addresses that can be given out: all but the network's own and the broadcast one.
fn assignable(range: Ipv4Net) -> std::ops::Range<u32> {
    u32::from(range.network()).saturating_add(1)..u32::from(range.broadcast())
}

fn free_address(api: &Api, review: &Review<'_>) -> Result<String, Status> {
    let all = assignable(api.config.service_cidr);
    let size = all.end.saturating_sub(all.start);
    let chosen = (size / 16).clamp(CHOSEN_MIN, CHOSEN_MAX).min(size / 2);
    let drawn = all.start + chosen..all.end;
    let free = |number: &u32| api.store.get(&format!("{ADDRESSES}{}", Ipv4Addr::from(*number))).is_none();
    let found = (0..DRAWS_MAX)
        .filter(|_| !drawn.is_empty())
        .map(|_| api.random(|rng| rng.random_range(drawn.clone())))
        .find(free)
        .or_else(|| drawn.clone().chain(all.start..drawn.start).find(free));
    found.map(|number| Ipv4Addr::from(number).to_string()).ok_or_else(|| {
        let detail = "failed to allocate a serviceIP: range is full";
        Status::forbidden(&review.address.kind.gvr, &review.address.name, detail)
    })
}

fn node_ports(
    api: &Api,
    review: &Review<'_>,
    object: &mut Value,
    had: &BTreeSet<String>,
) -> Result<(), Status> {
    let (first, last) = api.config.node_ports;
    let needs = takes_node_ports(&object["spec"]);
    let mut taken = BTreeSet::new();
    let ports = object["spec"]["ports"].as_array_mut();
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let protocol = protocol(port).to_owned();
        let path = Path::new("spec.ports").index(index).child("nodePort");
        match port["nodePort"].as_u64().filter(|number| *number > 0) {
            Some(number) => {
                let key = node_port_key(number, &protocol);
                let refuse = |why: String| {
                    let error = Error::invalid(&path, number, why);
                    Status::invalid(&review.address.kind.gvk, &review.address.name, &vec![error])
                };
                if !(u64::from(first)..=u64::from(last)).contains(&number) {
                    let why = "provided port is not in the valid range. The range of valid ports is";
                    return Err(refuse(format!("{why} {first}-{last}")));
                }
                if !had.contains(&key) && api.store.get(&key).is_some() {
                    return Err(refuse("provided port is already allocated".to_owned()));
                }
                taken.insert(key);
            }
            None if needs => {
                let free = |number: &u16| {
                    let key = node_port_key(u64::from(*number), &protocol);
                    !taken.contains(&key) && api.store.get(&key).is_none()
                };
                let number = (0..DRAWS_MAX)
                    .map(|_| api.random(|rng| rng.random_range(first..=last)))
                    .find(free)
                    .or_else(|| (first..=last).find(free));
                let Some(number) = number else {
                    let error = Error::invalid(&path, 0, "failed to allocate a nodePort: range is full");
                    return Err(Status::invalid(
                        &review.address.kind.gvk,
                        &review.address.name,
                        &vec![error],
                    ));
                };
                taken.insert(node_port_key(u64::from(number), &protocol));
                port["nodePort"] = number.into();
            }
            None => {}
        }
    }
    Ok(())
}
