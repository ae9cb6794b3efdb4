//! What a Deployment must be, and what may change about it.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::check::{self, root};
use super::read::Read;
use super::replica_set_check;

/// A new deployment.
pub(crate) fn create(object: &Value) -> ErrorList {
    let (spec, path) = (object.at("spec"), root("spec"));
    let mut errors = ErrorList::new();
    check::not_negative(spec, &path, "replicas", &mut errors);
    errors.extend(replica_set_check::pods(spec));
    errors.extend(strategy(spec.at("strategy"), &path.child("strategy")));
    check::not_negative(spec, &path, "minReadySeconds", &mut errors);
    check::not_negative(spec, &path, "revisionHistoryLimit", &mut errors);
    if let Some(deadline) = spec.number("progressDeadlineSeconds") {
        check::not_negative(spec, &path, "progressDeadlineSeconds", &mut errors);
        if deadline <= spec.number("minReadySeconds").unwrap_or_default() {
            let detail = "must be greater than minReadySeconds";
            errors.push(Error::invalid(&path.child("progressDeadlineSeconds"), deadline, detail));
        }
    }
    errors
}

/// An update of the deployment.
pub(crate) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = create(new);
    check::immutable(new.at("spec"), old.at("spec"), &root("spec"), "selector", &mut errors);
    errors
}

fn strategy(strategy: &Value, path: &Path) -> ErrorList {
    let rolling = strategy.at("rollingUpdate");
    let at = path.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" if !rolling.is_null() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            vec![Error::forbidden(&at, detail)]
        }
        "Recreate" => ErrorList::new(),
        "RollingUpdate" if rolling.is_null() => {
            vec![Error::required(&at, "this should be defaulted and never be nil")]
        }
        "RollingUpdate" => rolling_update(rolling, &at),
        _ => vec![Error::not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"])],
    }
}

fn rolling_update(rolling: &Value, path: &Path) -> ErrorList {
    let mut errors = number_or_percent(rolling.at("maxUnavailable"), &path.child("maxUnavailable"));
    errors.extend(number_or_percent(rolling.at("maxSurge"), &path.child("maxSurge")));
    let at = path.child("maxUnavailable");
    if amount(rolling.at("maxUnavailable")) == Some(0) && amount(rolling.at("maxSurge")) == Some(0) {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.push(Error::invalid(&at, rolling.at("maxUnavailable").clone(), detail));
    }
    let unavailable = rolling.at("maxUnavailable");
    if unavailable.is_string() && amount(unavailable).is_some_and(|percent| percent > 100) {
        errors.push(Error::invalid(&at, unavailable.clone(), "must not be greater than 100%"));
    }
    errors
}

/// A number that is not negative, or a percentage.
pub(crate) fn number_or_percent(value: &Value, path: &Path) -> ErrorList {
    match value.as_str() {
        Some(text) => check::each(path, text, model::names::percent(text)),
        None if value.as_i64().is_some_and(|number| number < 0) => {
            vec![Error::invalid(path, value.clone(), check::NOT_NEGATIVE)]
        }
        None => ErrorList::new(),
    }
}

/// The number in front of a percent sign, or the number.
pub(crate) fn amount(value: &Value) -> Option<i64> {
    match value.as_str() {
        Some(text) => text.strip_suffix('%')?.parse().ok(),
        None => value.as_i64(),
    }
}

/// An update of its status.
pub(crate) fn status_update(new: &Value, old: &Value) -> ErrorList {
    let (path, status) = (root("status"), new.at("status"));
    let mut errors = ErrorList::new();
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    for key in counts {
        check::not_negative(status, &path, key, &mut errors);
    }
    let collisions = |object: &Value| object.number("status.collisionCount").unwrap_or_default();
    if collisions(new) < collisions(old) {
        let at = path.child("collisionCount");
        errors.push(Error::invalid(&at, collisions(new), "cannot be decremented"));
    }
    let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
    let detail = "cannot be greater than status.replicas";
    replica_set_check::at_most(status, &parts, "replicas", detail, &mut errors);
    let detail = "cannot be greater than readyReplicas";
    replica_set_check::at_most(status, &["availableReplicas"], "readyReplicas", detail, &mut errors);
    errors
}
