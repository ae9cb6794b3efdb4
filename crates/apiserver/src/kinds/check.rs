//! Checks that several kinds share, with upstream's words.
//!
//! Each takes the path of what it checks and gives the errors it found; none knows a kind.

use std::net::IpAddr;

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::read::Read;

/// Text of a number that must not be below zero.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// Text of a number that must be above zero.
pub(crate) const ABOVE_ZERO: &str = "must be greater than 0";
/// Text of a field that never changes.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// The field `name` below nothing; dots separate fields.
pub(crate) fn root(name: &str) -> Path {
    Path::new(name)
}

/// One error for each of `messages`, all about `value`.
pub(crate) fn each(path: &Path, value: &str, messages: Vec<String>) -> ErrorList {
    messages.into_iter().map(|message| Error::invalid(path, value, message)).collect()
}

/// The number at `path.key`, if it is there, must not be negative.
pub(crate) fn not_negative(object: &Value, path: &Path, key: &str, errors: &mut ErrorList) {
    if let Some(number) = object.number(key).filter(|number| *number < 0) {
        errors.push(Error::invalid(&path.child(key), number, NOT_NEGATIVE));
    }
}

/// The number at `path.key`, if it is there, must be positive.
pub(crate) fn above_zero(object: &Value, path: &Path, key: &str, errors: &mut ErrorList) {
    if let Some(number) = object.number(key).filter(|number| *number <= 0) {
        errors.push(Error::invalid(&path.child(key), number, ABOVE_ZERO));
    }
}

/// The string at `path.key` must be there.
pub(crate) fn required(object: &Value, path: &Path, key: &str, errors: &mut ErrorList) -> bool {
    let missing = object.text(key).is_empty();
    if missing {
        errors.push(Error::required(&path.child(key), ""));
    }
    !missing
}

/// The string at `path.key` must be there and be one of `allowed` (sorted).
pub(crate) fn one_of(object: &Value, path: &Path, key: &str, allowed: &[&str], errors: &mut ErrorList) {
    if required(object, path, key, errors) {
        one_of_if_set(object, path, key, allowed, errors);
    }
}

/// The string at `path.key`, if it is there, must be one of `allowed` (sorted).
pub(crate) fn one_of_if_set(
    object: &Value,
    path: &Path,
    key: &str,
    allowed: &[&str],
    errors: &mut ErrorList,
) {
    let text = object.text(key);
    if object.has(key) && !allowed.contains(&text) {
        errors.push(Error::not_supported(&path.child(key), text, allowed));
    }
}

/// `key` may not differ between `new` and `old`. An empty string is the same as none.
pub(crate) fn immutable(new: &Value, old: &Value, path: &Path, key: &str, errors: &mut ErrorList) {
    if !same(new.at(key), old.at(key)) {
        errors.push(Error::invalid(&path.child(key), new.at(key).clone(), IMMUTABLE));
    }
}

/// Equal, where null, the empty string, list and map and `false` all mean "not set".
pub(crate) fn same(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let missing = Value::Null;
            new.iter().all(|(key, value)| same(value, old.get(key).unwrap_or(&missing)))
                && old.iter().all(|(key, value)| new.contains_key(key) || unset(value))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| same(new, old))
        }
        (new, old) => new == old || (unset(new) && unset(old)),
    }
}

fn unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(unset),
        _ => false,
    }
}

/// A map of labels.
pub(crate) fn labels(labels: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        errors.extend(each(path, key, model::names::qualified_name(key)));
        errors.extend(each(path, value, model::names::label_value(value)));
    }
    errors
}

/// Annotations: keys and total size.
pub(crate) fn annotations(annotations: &Value, path: &Path) -> ErrorList {
    /// Upstream's bound on the sum of keys and values of one object: 256 KiB.
    const TOTAL_BYTES_MAX: usize = 256 * 1024;
    let mut errors = ErrorList::new();
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        errors.extend(each(path, key, model::names::qualified_name(&key.to_lowercase())));
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > TOTAL_BYTES_MAX {
        errors.push(Error::too_long(path, TOTAL_BYTES_MAX));
    }
    errors
}

/// A `metav1.LabelSelector`.
pub(crate) fn label_selector(selector: &Value, path: &Path) -> ErrorList {
    let mut errors = labels(selector.at("matchLabels"), &path.child("matchLabels"));
    for (index, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(Error::invalid(&path.child("operator"), other, detail));
            }
        }
        let key = expression.text("key");
        errors.extend(each(&path.child("key"), key, model::names::qualified_name(key)));
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let path = path.child("values").index(index);
            errors.extend(each(&path, value, model::names::label_value(value)));
        }
    }
    errors
}

/// A port's number.
pub(crate) fn port_number(path: &Path, port: i64) -> Option<Error> {
    let valid = (1..=65535).contains(&port);
    (!valid).then(|| Error::invalid(path, port, "must be between 1 and 65535, inclusive"))
}

/// A number or the name of a port.
pub(crate) fn port_number_or_name(path: &Path, port: &Value) -> ErrorList {
    match port {
        Value::Number(number) => port_number(path, number.as_i64().unwrap_or_default()).into_iter().collect(),
        Value::String(name) => each(path, name, model::names::port_name(name)),
        _ => vec![Error::required(path, "")],
    }
}

/// An IP address of either family.
pub(crate) fn ip_address(path: &Path, address: &str) -> Option<Error> {
    let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    address.parse::<IpAddr>().is_err().then(|| Error::invalid(path, address, detail))
}

/// An address that traffic can be sent to from another machine.
pub(crate) fn endpoint_ip(path: &Path, text: &str) -> ErrorList {
    let Ok(address) = text.parse::<IpAddr>() else {
        return ip_address(path, text).into_iter().collect();
    };
    let mut errors = ErrorList::new();
    let mut refuse = |detail: &str| errors.push(Error::invalid(path, text, detail));
    if address.is_unspecified() {
        refuse("may not be unspecified (0.0.0.0 or ::)");
    }
    if address.is_loopback() {
        refuse("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            (first & 0xffc0 == 0xfe80, first & 0xff0f == 0xff02)
        }
    };
    if link_local {
        refuse("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        refuse("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
    errors
}

/// Selector of nodes by labels: `key`, `operator` and `values` of each expression.
pub(crate) fn node_selector(selector: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let terms = selector.list("nodeSelectorTerms");
    let path = path.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        errors.extend(node_selector_term(term, &path.index(index)));
    }
    errors
}

/// One term of a [`node_selector`].
pub(crate) fn node_selector_term(term: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, expression) in term.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(Error::invalid(&path.child("operator"), other, detail));
            }
        }
        let key = expression.text("key");
        errors.extend(each(&path.child("key"), key, model::names::qualified_name(key)));
    }
    for (index, field) in term.list("matchFields").iter().enumerate() {
        errors.extend(node_field(field, &path.child("matchFields").index(index)));
    }
    errors
}

/// A requirement on a node's name, the only field there is.
fn node_field(field: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = field.list("values");
    match field.text("operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(Error::required(&path.child("values"), detail));
        }
        "In" | "NotIn" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    if field.text("key") != "metadata.name" {
        let detail = "not a valid field selector key";
        errors.push(Error::invalid(&path.child("key"), field.text("key"), detail));
        return errors;
    }
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("values").index(index);
        errors.extend(each(&path, value, model::names::dns1123_subdomain(value)));
    }
    errors
}
