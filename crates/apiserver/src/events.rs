//! One event, two groups: `v1` `Event` and `events.k8s.io/v1` `Event` are the same stored object.
//!
//! The stored form is core `v1`; the other is converted on its way in and out. Pure.

use serde_json::{Map, Value};

use crate::kind::Kind;

/// How a kind that is not stored as it is becomes one that is.
pub(crate) struct Conversion {
    /// The kind that is stored.
    pub(crate) stored: &'static Kind,
    /// From the client's form to the stored one.
    pub(crate) to_stored: fn(&Value) -> Value,
    /// From the stored form to the client's.
    pub(crate) from_stored: fn(&Value) -> Value,
}

/// The conversion of `kind`, where it has one.
pub(crate) fn conversion(kind: &Kind) -> Option<Conversion> {
    if kind.gvk.group != "events.k8s.io" || kind.gvk.kind != "Event" {
        return None;
    }
    let stored =
        crate::kinds::all().into_iter().find(|core| core.gvk.group.is_empty() && core.gvk.kind == "Event")?;
    Some(Conversion { stored, to_stored: to_core, from_stored: from_core })
}

/// Fields by their name in `events.k8s.io/v1` and in core `v1`.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

/// The event in the stored form, for what reads both alike.
pub(crate) fn to_core(event: &Value) -> Value {
    rename(event, |name| RENAMED.iter().find(|(new, _)| *new == name).map(|(_, core)| *core), "v1")
}

fn from_core(event: &Value) -> Value {
    let name = |name: &str| RENAMED.iter().find(|(_, core)| *core == name).map(|(new, _)| *new);
    rename(event, name, "events.k8s.io/v1")
}

fn rename(event: &Value, name: impl Fn(&str) -> Option<&'static str>, api_version: &str) -> Value {
    let mut renamed = Map::new();
    for (field, value) in event.as_object().into_iter().flatten() {
        let field = name(field).unwrap_or(field);
        renamed.insert(field.to_owned(), value.clone());
    }
    renamed.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"},
            "regarding": {"kind": "Pod"}, "note": "hello", "reportingController": "x", "reason": "R",
            "deprecatedCount": 2, "series": {"count": 3},
        });
        let core = to_core(&event);
        assert_eq!(core["message"], "hello");
        assert_eq!(core["involvedObject"]["kind"], "Pod");
        assert_eq!(core["series"]["count"], 3);
        assert_eq!(from_core(&core), event);
    }
}
