//! What a pod spec must be, as a whole. The order of the errors is upstream's.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{containers, scheduling, security, volumes};
use crate::kinds::check;
use crate::kinds::read::Read;

const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
/// The resolver's own bounds.
const NAMESERVERS_MAX: usize = 3;

/// The spec of a pod or of a template. It has its defaults.
pub(crate) fn spec(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = volumes::volumes(spec, path);
    errors.extend(containers::containers(spec, path));
    check::one_of(spec, path, "restartPolicy", &RESTART_POLICIES, &mut errors);
    errors.extend(dns(spec, path));
    errors.extend(scheduling::scheduling(spec, path));
    errors.extend(security::of_pod(spec, path));
    for (index, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        check::required(secret, &path.child("imagePullSecrets").index(index), "name", &mut errors);
    }
    errors.extend(names(spec, path));
    if let Some(seconds) = spec.number("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
    }
    check::not_negative(spec, path, "terminationGracePeriodSeconds", &mut errors);
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(index);
        errors.extend(check::ip_address(&path.child("ip"), alias.text("ip")));
        for (index, name) in alias.list("hostnames").iter().filter_map(Value::as_str).enumerate() {
            let path = path.child("hostnames").index(index);
            errors.extend(check::each(&path, name, model::names::dns1123_subdomain(name)));
        }
    }
    for (index, gate) in spec.list("readinessGates").iter().enumerate() {
        let name = gate.text("conditionType");
        let path = path.child("readinessGates").index(index).child("conditionType");
        errors.extend(check::each(&path, name, model::names::qualified_name(name)));
    }
    let preemption = ["Never", "PreemptLowerPriority"];
    check::one_of_if_set(spec, path, "preemptionPolicy", &preemption, &mut errors);
    errors
}

/// Names of other things, which must be such names.
fn names(spec: &Value, path: &Path) -> ErrorList {
    type Rule = fn(&str) -> Vec<String>;
    let rules: [(&str, Rule); 6] = [
        ("serviceAccountName", model::names::dns1123_subdomain),
        ("nodeName", model::names::dns1123_subdomain),
        ("hostname", model::names::dns1123_label),
        ("subdomain", model::names::dns1123_label),
        ("priorityClassName", model::names::dns1123_subdomain),
        ("runtimeClassName", model::names::dns1123_subdomain),
    ];
    let mut errors = ErrorList::new();
    for (key, rule) in rules {
        let name = spec.text(key);
        if !name.is_empty() {
            errors.extend(check::each(&path.child(key), name, rule(name)));
        }
    }
    errors
}

fn dns(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !spec.text("dnsPolicy").is_empty() {
        check::one_of_if_set(spec, path, "dnsPolicy", &DNS_POLICIES, &mut errors);
    }
    let config = path.child("dnsConfig");
    let nameservers = spec.list("dnsConfig.nameservers");
    if spec.text("dnsPolicy") == "None" {
        if !spec.has("dnsConfig") {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(Error::required(&config, detail));
        } else if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(Error::required(&config.child("nameservers"), detail));
        }
    }
    if nameservers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        let path = config.child("nameservers");
        errors.push(Error::invalid(&path, Value::Array(nameservers.to_vec()), detail));
    }
    for (index, address) in nameservers.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(check::ip_address(&config.child("nameservers").index(index), address));
    }
    errors
}
