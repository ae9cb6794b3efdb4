//! `policy/v1` `PodDisruptionBudget`: how many pods of an application may be evicted at once.
//!
//! Evictions ask its status ([`crate::subresources::eviction`]), which the disruption controller keeps.
//! Nothing here counts pods.

use jiff::Timestamp;
use model::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use super::cells;
use super::check::{self, root};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy, Subresource};

/// The descriptor.
pub(crate) static POD_DISRUPTION_BUDGET: Kind = {
    let names = Names {
        group: "policy",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        key_prefix: "/registry/poddisruptionbudgets",
        definition: "io.k8s.api.policy.v1.PodDisruptionBudget",
    };
    let mut kind = kind(names, COLUMNS, &PodDisruptionBudget);
    kind.short_names = &["pdb"];
    kind.subresources = &[Subresource::Status];
    kind
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Min Available", "string", "How many pods must stay available."),
    cells::shown("Max Unavailable", "string", "How many pods may be unavailable."),
    cells::shown("Allowed Disruptions", "integer", "How many pods may be evicted now."),
    cells::AGE,
];

/// Counts of the status, which are there even where they are zero.
const COUNTS: [&str; 4] = ["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"];
/// What may become of a pod that is not ready.
const UNHEALTHY_POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn default(&self, object: &mut Value) {
        let status = read::object_mut(object, "status");
        for count in COUNTS {
            read::set_default(status, count, 0);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        let zeroes: serde_json::Map<String, Value> =
            COUNTS.into_iter().map(|count| (count.to_owned(), json!(0))).collect();
        read::set(object, "status", zeroes);
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        spec(object.at("spec"), &root("spec"))
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> ErrorList {
        spec(new.at("spec"), &root("spec"))
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            check::not_negative(new.at("status"), &root("status"), count, &mut errors);
        }
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let amount = |path: &str| match object.at(path) {
            Value::Null => "N/A".to_owned(),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        vec![
            cells::name(object),
            amount("spec.minAvailable").into(),
            amount("spec.maxUnavailable").into(),
            object.number("status.disruptionsAllowed").unwrap_or_default().into(),
            cells::age(object, now),
        ]
    }
}

fn spec(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(Error::invalid(path, spec.clone(), detail));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        errors.extend(count_or_percent(spec.at(key), &path.child(key)));
    }
    errors.extend(check::label_selector(spec.at("selector"), &path.child("selector")));
    check::one_of_if_set(spec, path, "unhealthyPodEvictionPolicy", &UNHEALTHY_POLICIES, &mut errors);
    errors
}

/// A number that is not negative, or a percentage of up to 100.
fn count_or_percent(value: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if value.as_i64().is_some_and(|count| count < 0) {
        errors.push(Error::invalid(path, value.clone(), check::NOT_NEGATIVE));
    }
    let Some(text) = value.as_str() else { return errors };
    let messages = model::names::percent(text);
    let is_percent = messages.is_empty();
    errors.extend(check::each(path, text, messages));
    let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<u64>().ok());
    if is_percent && percent.is_none_or(|percent| percent > 100) {
        errors.push(Error::invalid(path, text, "must not be greater than 100%"));
    }
    errors
}
