//! Warnings about pod specs that are accepted: what is likely not meant.

use serde_json::Value;

use super::resources::quantity;
use crate::kinds::read::Read;

/// Labels of nodes that have newer names.
const OLD_NODE_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];

/// The warnings.
pub(crate) fn spec(spec: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (old, since, new) in OLD_NODE_LABELS {
        if spec.at("nodeSelector").get(old).is_some() {
            warnings
                .push(format!("{path}.nodeSelector[{old}]: deprecated since {since}; use \"{new}\" instead"));
        }
    }
    if spec.number("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid \
                               and will be treated as 1"
        ));
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in spec.list(list).iter().enumerate() {
            of_container(container, &format!("{path}.{list}[{index}]"), &mut warnings);
        }
    }
    warnings
}

fn of_container(container: &Value, path: &str, warnings: &mut Vec<String>) {
    let env = container.list("env");
    for (index, variable) in env.iter().enumerate() {
        let name = variable.text("name");
        // A value that refers to the earlier one is meant.
        let refers = variable.text("value").contains(&format!("$({name})"));
        if !refers && env[..index].iter().any(|other| other.text("name") == name) {
            warnings.push(format!(
                "{path}.env[{index}]: hides previous definition of \"{name}\", which may be dropped when \
                 using apply"
            ));
        }
    }
    let ports = container.list("ports");
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &Value| {
            let keys = ["containerPort", "protocol", "hostPort", "hostIP"];
            keys.iter().all(|key| other.at(key) == port.at(key))
        };
        if let Some(first) = ports[..index].iter().position(same) {
            warnings
                .push(format!("{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"));
        }
    }
    for list in ["limits", "requests"] {
        for name in ["memory", "ephemeral-storage"] {
            let amount = container.at("resources").at(list).get(name).and_then(quantity);
            if let Some(amount) = amount.filter(|amount| !amount.is_whole()) {
                warnings.push(format!(
                    "{path}.resources.{list}[{name}]: fractional byte value \"{amount}\" is invalid, must be \
                     an integer"
                ));
            }
        }
    }
}
