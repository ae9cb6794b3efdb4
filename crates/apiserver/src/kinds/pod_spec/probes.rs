//! Probes and lifecycle hooks: what is asked of a running container.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use crate::kinds::check;
use crate::kinds::read::Read;

/// The three probes and the two hooks of a container.
pub(crate) fn of_container(container: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for hook in ["postStart", "preStop"] {
        let handler = container.at("lifecycle").at(hook);
        if !handler.is_null() {
            let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
            errors.extend(check_handler(handler, &path.child("lifecycle").child(hook), &kinds));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.at(name);
        if probe.is_null() {
            continue;
        }
        let path = path.child(name);
        errors.extend(check_probe(probe, &path));
        let success = probe.number("successThreshold").unwrap_or(1);
        if name != "readinessProbe" && success != 1 {
            errors.push(Error::invalid(&path.child("successThreshold"), success, "must be 1"));
        }
        if name == "readinessProbe"
            && let Some(grace) = probe.number("terminationGracePeriodSeconds")
        {
            let path = path.child("terminationGracePeriodSeconds");
            errors.push(Error::invalid(&path, grace, "must not be set for readinessProbes"));
        }
    }
    errors
}

fn check_probe(probe: &Value, path: &Path) -> ErrorList {
    let mut errors = check_handler(probe, path, &["exec", "httpGet", "tcpSocket", "grpc"]);
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        check::not_negative(probe, path, key, &mut errors);
    }
    check::above_zero(probe, path, "terminationGracePeriodSeconds", &mut errors);
    errors
}

/// Exactly one of the handlers that are allowed here.
fn check_handler(handler: &Value, path: &Path, kinds: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for kind in kinds {
        let action = handler.at(kind);
        if action.is_null() {
            continue;
        }
        let path = path.child(kind);
        if found {
            errors.push(Error::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        errors.extend(check_action(kind, action, &path));
    }
    if !found {
        errors.push(Error::required(path, "must specify a handler type"));
    }
    errors
}

fn check_action(kind: &str, action: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let port = || check::port_number_or_name(&path.child("port"), action.at("port"));
    match kind {
        "exec" if action.list("command").is_empty() => {
            errors.push(Error::required(&path.child("command"), ""));
        }
        "httpGet" => {
            check::required(action, path, "path", &mut errors);
            errors.extend(port());
            check::one_of_if_set(action, path, "scheme", &["HTTP", "HTTPS"], &mut errors);
            for (index, header) in action.list("httpHeaders").iter().enumerate() {
                let name = header.text("name");
                let path = path.child("httpHeaders").index(index).child("name");
                errors.extend(check::each(&path, name, model::names::http_header_name(name)));
            }
        }
        "tcpSocket" => errors.extend(port()),
        "grpc" => {
            let number = action.number("port").unwrap_or_default();
            errors.extend(check::port_number(&path.child("port"), number));
        }
        "sleep" => check::not_negative(action, path, "seconds", &mut errors),
        _ => {}
    }
    errors
}
