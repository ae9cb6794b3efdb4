//! `discovery.k8s.io/v1` `EndpointSlice`: some of the addresses behind a Service, with their conditions.

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::endpoints::PROTOCOLS;
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static ENDPOINT_SLICE: Kind = {
    let names = Names {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        key_prefix: "/registry/endpointslices",
        definition: "io.k8s.api.discovery.v1.EndpointSlice",
    };
    kind(names, COLUMNS, &EndpointSlice)
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("AddressType", "string", "What its addresses are: IPv4, IPv6 or FQDN."),
    cells::shown("Ports", "string", "Ports of every address."),
    cells::shown("Endpoints", "string", "The addresses."),
    cells::AGE,
];

const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// Upstream's bounds.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;

struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Value) {
        for port in read::list_mut(object, "ports") {
            read::set_default(port, "name", "");
            read::set_default(port, "protocol", "TCP");
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn has_generation(&self) -> bool {
        true
    }

    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        let differs = |path: &str| !check::same(new.at(path), old.at(path));
        differs("endpoints") || differs("ports") || differs("metadata.labels")
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check::one_of(object, &Path::default(), "addressType", &ADDRESS_TYPES, &mut errors);
        let endpoints = object.list("endpoints");
        if endpoints.len() > ENDPOINTS_MAX {
            errors.push(Error::too_many(&root("endpoints"), endpoints.len(), ENDPOINTS_MAX));
            return errors;
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = root("endpoints").index(index);
            errors.extend(check_endpoint(endpoint, object.text("addressType"), &path));
        }
        errors.extend(check_ports(object.list("ports")));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate_create(new);
        check::immutable(new, old, &Path::default(), "addressType", &mut errors);
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let ports: Vec<String> = object.list("ports").iter().map(port).collect();
        let endpoints = object.list("endpoints").iter();
        let addresses: Vec<String> = endpoints
            .flat_map(|endpoint| endpoint.list("addresses"))
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        vec![
            cells::name(object),
            object.text("addressType").into(),
            cells::or(&cells::first_of(&ports), "<unset>"),
            cells::or(&cells::first_of(&addresses), "<unset>"),
            cells::age(object, now),
        ]
    }
}

fn port(port: &Value) -> String {
    match (port.number("port"), port.text("name")) {
        (Some(number), _) => number.to_string(),
        (None, "") => "*".to_owned(),
        (None, name) => name.to_owned(),
    }
}

fn check_endpoint(endpoint: &Value, address_type: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let addresses = endpoint.list("addresses");
    let addresses_path = path.child("addresses");
    if addresses.is_empty() {
        errors.push(Error::required(&addresses_path, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES_MAX {
        errors.push(Error::too_many(&addresses_path, addresses.len(), ADDRESSES_MAX));
    }
    for (index, address) in addresses.iter().enumerate() {
        let path = addresses_path.index(index);
        let text = address.as_str().unwrap_or_default();
        let wrong_family = |detail| vec![Error::invalid(&path, text, detail)];
        errors.extend(match (address_type, text.contains(':')) {
            ("IPv4", true) => wrong_family("must be an IPv4 address"),
            ("IPv6", false) => wrong_family("must be an IPv6 address"),
            ("IPv4" | "IPv6", _) => check::endpoint_ip(&path, text),
            _ => check::each(&path, text, model::names::dns1123_subdomain(text)),
        });
        if addresses[..index].contains(address) {
            errors.push(Error::duplicate(&path, text));
        }
    }
    let node = endpoint.text("nodeName");
    if endpoint.has("nodeName") {
        let messages = model::names::dns1123_subdomain(node);
        errors.extend(check::each(&path.child("nodeName"), node, messages));
    }
    let hostname = endpoint.text("hostname");
    if endpoint.has("hostname") {
        let messages = model::names::dns1123_label(hostname);
        errors.extend(check::each(&path.child("hostname"), hostname, messages));
    }
    errors
}

fn check_ports(ports: &[Value]) -> ErrorList {
    let mut errors = ErrorList::new();
    if ports.len() > PORTS_MAX {
        return vec![Error::too_many(&root("ports"), ports.len(), PORTS_MAX)];
    }
    for (index, port) in ports.iter().enumerate() {
        let path = root("ports").index(index);
        let name = port.text("name");
        if !name.is_empty() {
            errors.extend(check::each(&path.child("name"), name, model::names::dns1123_label(name)));
        }
        if ports[..index].iter().any(|other| other.text("name") == name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        check::one_of(port, &path, "protocol", &PROTOCOLS, &mut errors);
        if let Some(number) = port.number("port") {
            errors.extend(check::port_number(&path.child("port"), number));
        }
    }
    errors
}
