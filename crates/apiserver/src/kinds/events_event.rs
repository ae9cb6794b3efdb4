//! `events.k8s.io/v1` `Event`: the same objects as [`super::event`] under newer field names.
//!
//! They are stored as `v1` events; `crate::events` converts them. Here is what their newer form must be.

use jiff::Timestamp;
use model::field::{Error, ErrorList};
use serde_json::Value;

use super::check::{self, root};
use super::describe::{Names, kind};
use super::event;
use super::read::Read;
use crate::events::to_core;
use crate::kind::{Kind, Strategy};

/// The descriptor.
pub(crate) static EVENTS_EVENT: Kind = {
    let names = Names {
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        singular: "event",
        key_prefix: "/registry/events",
        definition: "io.k8s.api.events.v1.Event",
    };
    let mut kind = kind(names, event::COLUMNS, &EventsEvent);
    kind.short_names = &["ev"];
    kind.create_on_update = true;
    kind.ttl_seconds = Some(event::TTL_SECONDS);
    kind
};

struct EventsEvent;

impl Strategy for EventsEvent {
    fn default(&self, _object: &mut Value) {}

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if !object.has("eventTime") {
            errors.push(Error::required(&root("eventTime"), ""));
        }
        errors.extend(event::reported(object, "reportingController", "note"));
        if !matches!(object.text("type"), "Normal" | "Warning") {
            let detail = format!("has invalid value: {}", object.text("type"));
            errors.push(Error::invalid(&root("type"), "", detail));
        }
        for (field, name) in [
            ("deprecatedFirstTimestamp", "firstTimestamp"),
            ("deprecatedLastTimestamp", "lastTimestamp"),
            ("deprecatedCount", "count"),
            ("deprecatedSource", "source"),
        ] {
            let value = object.at(field);
            if !check::same(value, &Value::Null) && value.as_i64() != Some(0) {
                errors.push(Error::invalid(&root(name), "", "needs to be unset"));
            }
        }
        errors.extend(series(object));
        errors.extend(namespace(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for key in ["regarding", "reason", "reportingController", "reportingInstance", "action", "type"] {
            check::immutable(new, old, &model::field::Path::default(), key, &mut errors);
        }
        errors.extend(series(new));
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        event::row(&to_core(object), now)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let mut fields = event::selectable(&to_core(object));
        let regarding = |(name, value): &(&'static str, String)| {
            let at = REGARDING.iter().find(|(_, involved)| involved == name)?;
            Some((at.0, value.clone()))
        };
        let more: Vec<_> = fields.iter().filter_map(regarding).collect();
        fields.extend(more);
        fields
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        SELECTABLE
    }
}

const REGARDING: [(&str, &str); 7] = [
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.uid", "involvedObject.uid"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
];

const SELECTABLE: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingComponent",
    "reportingController",
    "source",
    "type",
];

fn series(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (series, path) = (object.at("series"), root("series"));
    if series.is_null() {
        return errors;
    }
    if series.number("count").unwrap_or_default() < 2 {
        errors.push(Error::invalid(&path.child("count"), "", "should be at least 2"));
    }
    if !series.has("lastObservedTime") {
        errors.push(Error::required(&path.child("lastObservedTime"), ""));
    }
    errors
}

fn namespace(object: &Value) -> ErrorList {
    let (own, regarding) = (object.text("metadata.namespace"), object.text("regarding.namespace"));
    let matches = match regarding {
        "" => own.is_empty() || own == "default",
        regarding => regarding == own,
    };
    let detail = "does not match event.namespace";
    let refused = Error::invalid(&root("involvedObject.namespace"), regarding, detail);
    if matches { ErrorList::new() } else { vec![refused] }
}
