//! `v1` `Event`: what happened to an object, for people to read. Kept for an hour.
//!
//! Events of `events.k8s.io` are stored in this form. Read next: [`super::events_event`].

use jiff::Timestamp;
use model::field::{Error, ErrorList};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static EVENT: Kind = {
    let names = Names {
        group: "",
        kind: "Event",
        plural: "events",
        singular: "event",
        key_prefix: "/registry/events",
        definition: "io.k8s.api.core.v1.Event",
    };
    let mut kind = kind(names, COLUMNS, &Event);
    kind.short_names = &["ev"];
    kind.create_on_update = true;
    kind.ttl_seconds = Some(TTL_SECONDS);
    kind
};

/// How long events are kept: an hour, as upstream.
pub(crate) const TTL_SECONDS: u32 = 3600;

/// Columns of events in both groups.
pub(crate) const COLUMNS: &[Column] = &[
    cells::shown("Last Seen", "string", "Time since it happened last."),
    cells::shown("Type", "string", "Normal or Warning."),
    cells::shown("Reason", "string", "What happened, in one word."),
    cells::shown("Object", "string", "What it happened to."),
    cells::wide("Subobject", "string", "The part of the object it happened to."),
    cells::wide("Source", "string", "Who saw it."),
    cells::shown("Message", "string", "What happened, for people."),
    cells::wide("First Seen", "string", "Time since it happened first."),
    cells::wide("Count", "string", "How often it happened."),
    Column {
        name: "Name",
        cell_type: "string",
        format: "name",
        priority: 1,
        description: "Name of the event itself.",
    },
];

/// Field selectors that events in both groups have.
pub(crate) const SELECTABLE: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "reportingController",
    "source",
    "type",
];

struct Event;

impl Strategy for Event {
    fn default(&self, object: &mut Value) {
        // Not pointers upstream: they are always there.
        read::set_default(object, "source", Value::Object(serde_json::Map::new()));
        read::set_default(object, "reportingComponent", "");
        read::set_default(object, "reportingInstance", "");
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = about(object.text("metadata.namespace"), object.at("involvedObject"));
        if object.has("eventTime") {
            errors.extend(reported(object, "reportingComponent", "message"));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> ErrorList {
        self.validate_create(new)
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        row(object, now)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        selectable(object)
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        SELECTABLE
    }
}

/// The event must live in the namespace of what it is about; about cluster-wide objects, in `default`.
fn about(namespace: &str, involved: &Value) -> ErrorList {
    let path = root("involvedObject.namespace");
    let about = involved.text("namespace");
    let matches = match about {
        "" => namespace.is_empty() || namespace == "default",
        about => about == namespace,
    };
    if matches {
        return ErrorList::new();
    }
    vec![Error::invalid(&path, about, "does not match event.namespace")]
}

/// What events of the newer form must say.
pub(crate) fn reported(object: &Value, controller: &str, message: &str) -> ErrorList {
    /// Bound on the short texts, in characters.
    const TEXT_MAX: usize = 128;
    /// Bound on the message, in characters.
    const MESSAGE_MAX: usize = 1024;
    let mut errors = ErrorList::new();
    let text = object.text(controller);
    if text.is_empty() {
        errors.push(Error::required(&root(controller), ""));
    }
    errors.extend(check::each(&root(controller), text, model::names::qualified_name(text)));
    for key in ["reportingInstance", "action", "reason"] {
        let text = object.text(key);
        if text.is_empty() {
            errors.push(Error::required(&root(key), ""));
        }
        if text.len() > TEXT_MAX {
            let detail = format!("can have at most {TEXT_MAX} characters");
            errors.push(Error::invalid(&root(key), "", detail));
        }
    }
    if object.text(message).len() > MESSAGE_MAX {
        let detail = format!("can have at most {MESSAGE_MAX} characters");
        errors.push(Error::invalid(&root("message"), "", detail));
    }
    errors
}

/// The row of an event in its stored form.
pub(crate) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = match object.text("firstTimestamp") {
        "" => cells::since(object.text("eventTime"), now),
        time => cells::since(time, now),
    };
    let mut last = match object.text("lastTimestamp") {
        "" => first.clone(),
        time => cells::since(time, now),
    };
    let mut count = object.number("count").unwrap_or_default();
    if object.has("series") {
        last = cells::since(object.text("series.lastObservedTime"), now);
        count = object.number("series.count").unwrap_or_default();
    } else if count == 0 {
        count = 1;
    }
    let kind = object.text("involvedObject.kind").to_lowercase();
    let target = match object.text("involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        object.text("type").into(),
        object.text("reason").into(),
        target.into(),
        object.text("involvedObject.fieldPath").into(),
        source(object).into(),
        object.text("message").trim().into(),
        first.into(),
        count.into(),
        object.text("metadata.name").into(),
    ]
}

fn source(object: &Value) -> String {
    let first = |keys: [&str; 2]| {
        let found = keys.into_iter().map(|key| object.text(key)).find(|text| !text.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let component = first(["source.component", "reportingComponent"]);
    match first(["source.host", "reportingInstance"]) {
        host if host.is_empty() => component,
        host => format!("{component}, {host}"),
    }
}

/// What field selectors see of an event in its stored form.
pub(crate) fn selectable(object: &Value) -> Vec<(&'static str, String)> {
    SELECTABLE
        .iter()
        .map(|name| {
            let value = match *name {
                "source" => match object.text("source.component") {
                    "" => object.text("reportingComponent"),
                    component => component,
                },
                "reportingController" => object.text("reportingComponent"),
                path => object.text(path),
            };
            (*name, value.to_owned())
        })
        .collect()
}
