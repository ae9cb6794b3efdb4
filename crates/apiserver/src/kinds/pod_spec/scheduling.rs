//! What a pod says about where it wants to run.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::kinds::check;
use crate::kinds::read::Read;

/// Effects that a toleration may name.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Node selector, affinity, tolerations, spread and gates.
pub(crate) fn scheduling(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = check::labels(spec.at("nodeSelector"), &path.child("nodeSelector"));
    errors.extend(affinity(spec.at("affinity"), &path.child("affinity")));
    for (index, toleration) in spec.list("tolerations").iter().enumerate() {
        errors.extend(check_toleration(toleration, &path.child("tolerations").index(index)));
    }
    let rules = spec.list("topologySpreadConstraints");
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        errors.extend(check_spread(rule, &rules[index + 1..], &path));
    }
    let gates = spec.list("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let path = path.child("schedulingGates").index(index);
        let name = gate.text("name");
        errors.extend(check::each(&path, name, model::names::qualified_name(name)));
        if gates[..index].contains(gate) {
            errors.push(Error::duplicate(&path, name));
        }
    }
    errors
}

fn check_toleration(toleration: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (key, value) = (toleration.text("key"), toleration.text("value"));
    let (operator, effect) = (toleration.text("operator"), toleration.text("effect"));
    if !key.is_empty() {
        errors.extend(check::each(&path.child("key"), key, model::names::qualified_name(key)));
    } else if operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(Error::invalid(&path.child("operator"), operator, detail));
    }
    if toleration.has("tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(Error::invalid(&path.child("effect"), effect, detail));
    }
    let path_of_operator = path.child("operator");
    match operator {
        "Equal" | "" => {
            errors.extend(check::each(&path_of_operator, value, model::names::label_value(value)));
        }
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(Error::invalid(&path_of_operator, toleration.clone(), detail));
        }
        "Exists" => {}
        other => errors.push(Error::not_supported(&path_of_operator, other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        check::one_of_if_set(toleration, path, "effect", &EFFECTS, &mut errors);
    }
    errors
}

fn affinity(affinity: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let node = affinity.at("nodeAffinity");
    let at = path.child("nodeAffinity");
    let required = node.at("requiredDuringSchedulingIgnoredDuringExecution");
    if !required.is_null() {
        let path = at.child("requiredDuringSchedulingIgnoredDuringExecution");
        errors.extend(check::node_selector(required, &path));
    }
    for (index, term) in node.list("preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
        let path = at.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
        errors.extend(weight(term, &path));
        errors.extend(check::node_selector_term(term.at("preference"), &path.child("preference")));
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        let (pods, path) = (affinity.at(name), path.child(name));
        let list = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in pods.list(list).iter().enumerate() {
            errors.extend(pod_term(term, &path.child(list).index(index)));
        }
        let list = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in pods.list(list).iter().enumerate() {
            let path = path.child(list).index(index);
            errors.extend(weight(term, &path));
            errors.extend(pod_term(term.at("podAffinityTerm"), &path.child("podAffinityTerm")));
        }
    }
    errors
}

fn weight(term: &Value, path: &Path) -> Option<Error> {
    let weight = term.number("weight").unwrap_or_default();
    let valid = (1..=100).contains(&weight);
    (!valid).then(|| Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"))
}

fn pod_term(term: &Value, path: &Path) -> ErrorList {
    let mut errors = check::label_selector(term.at("labelSelector"), &path.child("labelSelector"));
    let selector = term.at("namespaceSelector");
    errors.extend(check::label_selector(selector, &path.child("namespaceSelector")));
    errors.extend(label_keys(term, path));
    for name in term.list("namespaces").iter().filter_map(Value::as_str) {
        errors.extend(check::each(&path.child("namespace"), name, model::names::dns1123_label(name)));
    }
    let key = term.text("topologyKey");
    let path = path.child("topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&path, "can not be empty"));
    }
    errors.extend(check::each(&path, key, model::names::qualified_name(key)));
    errors
}

/// Keys of labels whose values the selector takes over from the pod ([`super::label_keys`]).
fn label_keys(term: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        errors.extend(are_label_keys(term, &path.child(list), list));
    }
    let keys: Vec<&str> = term.list("matchLabelKeys").iter().filter_map(Value::as_str).collect();
    let mut seen: Vec<&str> = term.entries("labelSelector.matchLabels").map(|(key, _)| key).collect();
    for expression in term.list("labelSelector.matchExpressions") {
        let key = expression.text("key");
        // What was taken over is there once; a second time it is the user's own.
        if let Some(index) = keys.iter().position(|other| *other == key)
            && seen.contains(&key)
        {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(Error::invalid(&path.index(index), key, detail));
        }
        seen.push(key);
    }
    let others: Vec<&str> = term.list("mismatchLabelKeys").iter().filter_map(Value::as_str).collect();
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| others.contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(Error::invalid(&path.child("matchLabelKeys").index(index), *key, detail));
    }
    errors
}

fn are_label_keys(term: &Value, path: &Path, list: &str) -> ErrorList {
    let keys = term.list(list);
    if !keys.is_empty() && !term.has("labelSelector") {
        return vec![Error::forbidden(path, "must not be specified when labelSelector is not set")];
    }
    let keys = keys.iter().filter_map(Value::as_str).enumerate();
    let wrong = |(index, key)| check::each(&path.index(index), key, model::names::qualified_name(key));
    keys.flat_map(wrong).collect()
}

fn check_spread(spread: &Value, others: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let skew = spread.number("maxSkew").unwrap_or_default();
    if skew <= 0 {
        errors.push(Error::invalid(&path.child("maxSkew"), skew, check::ABOVE_ZERO));
    }
    if spread.text("topologyKey").is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    let actions = ["DoNotSchedule", "ScheduleAnyway"];
    if !actions.contains(&spread.text("whenUnsatisfiable")) {
        let path = path.child("whenUnsatisfiable");
        errors.push(Error::not_supported(&path, spread.text("whenUnsatisfiable"), &actions));
    }
    let same = |other: &&Value| {
        ["topologyKey", "whenUnsatisfiable"].iter().all(|key| other.text(key) == spread.text(key))
    };
    if others.iter().find(same).is_some() {
        let both = format!("{{{}, {}}}", spread.text("topologyKey"), spread.text("whenUnsatisfiable"));
        errors.push(Error::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), both));
    }
    check::above_zero(spread, path, "minDomains", &mut errors);
    if let Some(least) = spread.number("minDomains")
        && spread.text("whenUnsatisfiable") != "DoNotSchedule"
    {
        let action = spread.text("whenUnsatisfiable");
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.push(Error::invalid(&path.child("minDomains"), least, detail));
    }
    for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        check::one_of_if_set(spread, path, key, &["Honor", "Ignore"], &mut errors);
    }
    let list = path.child("matchLabelKeys");
    errors.extend(are_label_keys(spread, &list, "matchLabelKeys"));
    let expressions = spread.list("labelSelector.matchExpressions").iter().map(|one| one.text("key"));
    let own: Vec<&str> =
        spread.entries("labelSelector.matchLabels").map(|(key, _)| key).chain(expressions).collect();
    for (index, key) in spread.list("matchLabelKeys").iter().filter_map(Value::as_str).enumerate() {
        if own.contains(&key) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(Error::invalid(&list.index(index), key, detail));
        }
    }
    errors.extend(check::label_selector(spread.at("labelSelector"), &path.child("labelSelector")));
    errors
}
