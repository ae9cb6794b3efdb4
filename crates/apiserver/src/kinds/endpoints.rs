//! `v1` `Endpoints`: the addresses behind a Service, in the old form that holds them all in one object.

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static ENDPOINTS: Kind = {
    let names = Names {
        group: "",
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        key_prefix: "/registry/services/endpoints",
        definition: "io.k8s.api.core.v1.Endpoints",
    };
    let mut kind = kind(names, COLUMNS, &Endpoints);
    kind.short_names = &["ep"];
    kind.create_on_update = true;
    kind
};

const COLUMNS: &[Column] =
    &[cells::NAME, cells::shown("Endpoints", "string", "Ready addresses with their ports."), cells::AGE];

/// Protocols that ports may have.
pub(crate) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        for subset in read::list_mut(object, "subsets") {
            for port in read::list_mut(subset, "ports") {
                read::set_default_text(port, "protocol", "TCP");
            }
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for (index, subset) in object.list("subsets").iter().enumerate() {
            errors.extend(check_subset(subset, &root("subsets").index(index)));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate_create(new)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cells::name(object), addresses(object.list("subsets")).into(), cells::age(object, now)]
    }
}

fn check_subset(subset: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let ready = subset.list("addresses");
    let not_ready = subset.list("notReadyAddresses");
    if ready.is_empty() && not_ready.is_empty() {
        let detail = "must specify `addresses` or `notReadyAddresses`";
        errors.push(Error::required(path, detail));
    }
    for (name, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        for (index, address) in addresses.iter().enumerate() {
            let path = path.child(name).index(index);
            errors.extend(check::endpoint_ip(&path.child("ip"), address.text("ip")));
            let hostname = address.text("hostname");
            if !hostname.is_empty() {
                let messages = model::names::dns1123_label(hostname);
                errors.extend(check::each(&path.child("hostname"), hostname, messages));
            }
            let node = address.text("nodeName");
            if address.has("nodeName") {
                let messages = model::names::dns1123_subdomain(node);
                errors.extend(check::each(&path.child("nodeName"), node, messages));
            }
        }
    }
    let ports = subset.list("ports");
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = port.text("name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(check::each(&path.child("name"), name, model::names::dns1123_label(name)));
        }
        let number = port.number("port").unwrap_or_default();
        errors.extend(check::port_number(&path.child("port"), number));
        check::one_of(port, &path, "protocol", &PROTOCOLS, &mut errors);
    }
    errors
}

fn addresses(subsets: &[Value]) -> String {
    if subsets.is_empty() {
        return cells::NONE.to_owned();
    }
    let mut items = Vec::new();
    for subset in subsets {
        let ready = subset.list("addresses");
        let ports = subset.list("ports");
        if ports.is_empty() {
            items.extend(ready.iter().map(|address| address.text("ip").to_owned()));
        }
        for port in ports {
            let port = port.number("port").unwrap_or_default();
            items.extend(ready.iter().map(|address| cells::host_port(address.text("ip"), port)));
        }
    }
    cells::first_of(&items)
}
