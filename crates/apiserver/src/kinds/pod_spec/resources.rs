//! Amounts of resources: requests, limits, and what stands between them.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

pub(crate) use model::quantity::{canonical, in_json as quantity};

use crate::kinds::check;
use crate::kinds::read::Read;

/// What Go's decoder says about a text that is no quantity.
const NOT_A_QUANTITY: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// One amount of the resource `name`: a quantity that is not negative, whole where it is counted.
pub(crate) fn amount(path: &Path, name: &str, value: &Value) -> ErrorList {
    let Some(quantity) = quantity(value) else {
        return vec![Error::invalid(path, value.clone(), NOT_A_QUANTITY)];
    };
    if quantity.sign() < 0 {
        return vec![Error::invalid(path, quantity.to_string(), check::NOT_NEGATIVE)];
    }
    let counted = name == "pods" || is_extended(name);
    if counted && !quantity.is_whole() {
        return vec![Error::invalid(path, quantity.to_string(), "must be an integer")];
    }
    ErrorList::new()
}

/// Resources that a device plugin or the user brings.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

fn container_resource_name(name: &str, path: &Path) -> ErrorList {
    let messages = model::names::qualified_name(name);
    if !messages.is_empty() {
        return check::each(path, name, messages);
    }
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if standard || name.contains('/') {
        return ErrorList::new();
    }
    vec![Error::invalid(path, name, "must be a standard resource for containers")]
}

/// `resources` of a container.
pub(crate) fn requirements(resources: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["limits", "requests"] {
        for (name, value) in resources.entries(list) {
            let path = path.child(list).key(name);
            errors.extend(container_resource_name(name, &path));
            errors.extend(amount(&path, name, value));
        }
    }
    let limits = resources.at("limits");
    for (name, request) in resources.entries("requests") {
        let path = path.child("requests");
        let limit = limits.get(name).and_then(quantity);
        let Some(request) = quantity(request) else { continue };
        let equal_only = is_extended(name) || name.starts_with("hugepages-");
        let Some(limit) = limit else {
            if equal_only {
                errors.push(Error::required(&path, "Limit must be set for non overcommitable resources"));
            }
            continue;
        };
        if equal_only && request != limit {
            let detail = format!("must be equal to {name} limit of {limit}");
            errors.push(Error::invalid(&path, request.to_string(), detail));
        } else if request > limit {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(Error::invalid(&path, request.to_string(), detail));
        }
    }
    errors
}

/// How well the pod's resources are assured: `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let containers = || spec.list("containers").iter().chain(spec.list("initContainers"));
    let positive = |container: &Value, list: &str, name: &str| {
        let amount = container.at("resources").at(list).get(name).and_then(quantity);
        amount.filter(|amount| amount.sign() > 0)
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in containers() {
        for name in ["cpu", "memory"] {
            let request = positive(container, "requests", name);
            let limit = positive(container, "limits", name);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
