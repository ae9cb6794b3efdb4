//! `scheduling.k8s.io/v1` `PriorityClass`: how important pods are, by a name.
//!
//! Pods that name one get its value from [`crate::admission`], which also knows that only one class is the
//! default.

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static PRIORITY_CLASS: Kind = {
    let names = Names {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        key_prefix: "/registry/priorityclasses",
        definition: "io.k8s.api.scheduling.v1.PriorityClass",
    };
    let mut kind = kind(names, COLUMNS, &PriorityClass);
    kind.short_names = &["pc"];
    kind.namespaced = false;
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Value", "integer", "How important its pods are; the highest go first."),
    cells::shown("Global-Default", "boolean", "Whether pods that name no class get this one."),
    cells::AGE,
    cells::shown("PreemptionPolicy", "string", "Whether its pods may take the room of less important ones."),
];

/// The highest value that a user may give.
const VALUE_MAX: i64 = 1_000_000_000;
/// What the names of the system's own classes begin with.
const SYSTEM_PREFIX: &str = "system-";

/// The two classes that every cluster has: name, value, description.
pub(crate) const SYSTEM_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if \
         necessary.",
    ),
];

struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Value) {
        read::set_default(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (name, value) = (object.text("metadata.name"), value(object));
        if name.starts_with(SYSTEM_PREFIX) {
            if let Err(error) = is_known_system_class(name, value, object.flag("globalDefault")) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. \
                     error: {error}"
                );
                errors.push(Error::forbidden(&root("metadata").child("name"), detail));
            }
        } else if value > VALUE_MAX {
            let detail = format!("maximum allowed value of a user defined priority is {VALUE_MAX}");
            errors.push(Error::forbidden(&root("value"), detail));
        }
        let policies = ["Never", "PreemptLowerPriority"];
        check::one_of_if_set(object, &Path::default(), "preemptionPolicy", &policies, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if value(new) != value(old) {
            errors.push(Error::forbidden(&root("value"), "may not be changed in an update."));
        }
        check::immutable(new, old, &Path::default(), "preemptionPolicy", &mut errors);
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(object),
            value(object).into(),
            object.flag("globalDefault").into(),
            cells::age(object, now),
            object.text("preemptionPolicy").into(),
        ]
    }
}

fn value(object: &Value) -> i64 {
    object.number("value").unwrap_or_default()
}

fn is_known_system_class(name: &str, value: i64, is_default: bool) -> Result<(), String> {
    match SYSTEM_CLASSES.iter().find(|(known, ..)| *known == name) {
        None => Err(format!("{name} is not a known system priority class")),
        Some((_, known, _)) if *known != value => {
            Err(format!("value of {name} PriorityClass must be {known}"))
        }
        Some(_) if is_default => Err(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => Ok(()),
    }
}
