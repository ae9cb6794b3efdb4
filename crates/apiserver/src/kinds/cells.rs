//! What table rows and columns of all kinds are made of.
//!
//! The texts are those of `kubectl get`; they must stay as upstream prints them.

use jiff::Timestamp;
use serde_json::Value;

use super::read::Read;
use crate::kind::Column;

/// First column of nearly every kind.
pub(crate) const NAME: Column = Column {
    name: "Name",
    cell_type: "string",
    format: "name",
    priority: 0,
    description: "Name of the object, unique among its kind in its namespace.",
};

/// Age column.
pub(crate) const AGE: Column = shown("Age", "string", "Time since the object was made.");

/// What stands for nothing.
pub(crate) const NONE: &str = "<none>";

/// A column that is always shown.
pub(crate) const fn shown(name: &'static str, cell_type: &'static str, description: &'static str) -> Column {
    Column { name, cell_type, format: "", priority: 0, description }
}

/// A column that is shown with `-o wide`.
pub(crate) const fn wide(name: &'static str, cell_type: &'static str, description: &'static str) -> Column {
    Column { name, cell_type, format: "", priority: 1, description }
}

/// The object's name.
pub(crate) fn name(object: &Value) -> Value {
    object.text("metadata.name").into()
}

/// How long ago the object was made.
pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    since(object.text("metadata.creationTimestamp"), now).into()
}

/// How long ago `time` (RFC 3339) was; `<unknown>` when there is none.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => model::duration::human(now.as_second() - time.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// `text`, or `<none>` when it is empty.
pub(crate) fn or_none(text: &str) -> Value {
    or(text, NONE)
}

/// `text`, or `fallback` when it is empty.
pub(crate) fn or(text: &str, fallback: &str) -> Value {
    if text.is_empty() { fallback.into() } else { text.into() }
}

/// The strings of a list, joined with commas.
pub(crate) fn joined(list: &[Value]) -> String {
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The strings under `key` of a list's elements, joined with commas.
pub(crate) fn joined_field(list: &[Value], key: &str) -> String {
    list.iter().map(|item| item.text(key)).collect::<Vec<_>>().join(",")
}

/// A map of labels as `a=1,b=2`; `<none>` when it is empty.
pub(crate) fn labels(labels: &Value) -> String {
    let entries = labels.as_object().into_iter().flatten();
    let texts: Vec<String> =
        entries.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if texts.is_empty() { NONE.to_owned() } else { texts.join(",") }
}

/// Access modes of volumes in their short forms, without repetition: `RWO,RWX`.
pub(crate) fn access_modes(modes: &[Value]) -> String {
    let has = |mode: &str| modes.iter().any(|item| item == mode);
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| has(mode))
    .map(|(_, short)| short)
    .collect::<Vec<_>>()
    .join(",")
}

/// Lists of endpoints show so many items and count the rest.
pub(crate) const LISTED_MAX: usize = 3;

/// The first [`LISTED_MAX`] of `items`, and how many more there are.
pub(crate) fn first_of(items: &[String]) -> String {
    if items.len() > LISTED_MAX {
        format!("{} + {} more...", items[..LISTED_MAX].join(","), items.len() - LISTED_MAX)
    } else {
        items.join(",")
    }
}

/// An address and a port; an IPv6 address gets brackets.
pub(crate) fn host_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Storage class of a claim or a volume: the old annotation wins over the field.
pub(crate) fn storage_class(object: &Value) -> &str {
    match object.entry("metadata.annotations", "volume.beta.kubernetes.io/storage-class") {
        "" => object.text("spec.storageClassName"),
        class => class,
    }
}
