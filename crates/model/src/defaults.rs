//! What the API fills into a pod spec and into a claim. Idempotent.
//!
//! It is here and not with the kinds because templates are compared by it too: what an earlier version stored
//! lacks defaults that came later, and is no other template for that.

use serde_json::{Map, Value, json};

use crate::quantity::canonical;
use crate::read::{self, Read};

/// Grace period of pods that name none.
pub const GRACE_PERIOD_SECONDS: i64 = 30;
/// Mode of files in volumes made of objects: 0644.
const FILE_MODE: i64 = 0o644;
/// Life of a projected token: an hour.
const TOKEN_SECONDS: i64 = 3600;

/// The spec of a pod: that of a template, and what only pods get.
pub fn pod(spec: &mut Value) {
    read::set_default(spec, "enableServiceLinks", true);
    template(spec);
    host_ports(spec);
    for list in ["containers", "initContainers"] {
        for container in read::list_mut(spec, list) {
            requests_from_limits(container);
        }
    }
}

/// The spec in a pod template.
pub fn template(spec: &mut Value) {
    read::set_default_text(spec, "dnsPolicy", "ClusterFirst");
    read::set_default_text(spec, "restartPolicy", "Always");
    read::set_default_text(spec, "schedulerName", "default-scheduler");
    read::set_default(spec, "securityContext", json!({}));
    read::set_default(spec, "terminationGracePeriodSeconds", GRACE_PERIOD_SECONDS);
    service_account(spec);
    for volume in read::list_mut(spec, "volumes") {
        default_volume(volume);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in read::list_mut(spec, list) {
            default_container(container);
        }
    }
}

/// A claim, or the template of one.
pub fn claim(claim: &mut Value) {
    let spec = read::object_mut(claim, "spec");
    read::set_default(spec, "volumeMode", "Filesystem");
    for list in ["limits", "requests"] {
        canonical(spec.get_mut("resources").and_then(|resources| resources.get_mut(list)));
    }
    read::set_default_text(read::object_mut(claim, "status"), "phase", "Pending");
}

/// The old and the new field for the account follow each other.
fn service_account(spec: &mut Value) {
    let (new, old) = (spec.text("serviceAccountName").to_owned(), spec.text("serviceAccount").to_owned());
    match (new.is_empty(), old.is_empty()) {
        (false, _) if new != old => read::set(spec, "serviceAccount", new),
        (true, false) => read::set(spec, "serviceAccountName", old),
        _ => {}
    }
}

/// On the host's network a container's ports are the host's.
fn host_ports(spec: &mut Value) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for list in ["containers", "initContainers"] {
        for container in read::list_mut(spec, list) {
            for port in read::list_mut(container, "ports") {
                if port.number("hostPort").unwrap_or_default() == 0 {
                    let number = port.at("containerPort").clone();
                    read::set(port, "hostPort", number);
                }
            }
        }
    }
}

fn default_container(container: &mut Value) {
    if container.text("imagePullPolicy").is_empty() && !container.text("image").is_empty() {
        let policy = pull_policy(container.text("image"));
        read::set(container, "imagePullPolicy", policy);
    }
    read::set_default_text(container, "terminationMessagePath", "/dev/termination-log");
    read::set_default_text(container, "terminationMessagePolicy", "File");
    read::set_default(container, "resources", json!({}));
    for list in ["limits", "requests"] {
        canonical(container.get_mut("resources").and_then(|resources| resources.get_mut(list)));
    }
    for port in read::list_mut(container, "ports") {
        read::set_default_text(port, "protocol", "TCP");
    }
    for variable in read::list_mut(container, "env") {
        if let Some(source) = read::present_mut(variable, "valueFrom") {
            if let Some(field) = read::present_mut(source, "fieldRef") {
                read::set_default_text(field, "apiVersion", "v1");
            }
            if let Some(field) = read::present_mut(source, "resourceFieldRef") {
                read::set_default(field, "divisor", "0");
            }
            if let Some(key) = read::present_mut(source, "fileKeyRef") {
                read::set_default(key, "optional", false);
            }
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = read::present_mut(container, probe) {
            default_probe(probe);
        }
    }
    if let Some(lifecycle) = read::present_mut(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = read::present_mut(lifecycle, hook) {
                default_http_get(hook);
            }
        }
    }
}

/// An image without a tag, or with the tag `latest`, is pulled each time; a digest never needs to be.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn default_probe(probe: &mut Value) {
    for (key, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.number(key).unwrap_or_default() == 0 {
            read::set(probe, key, default);
        }
    }
    default_http_get(probe);
    if let Some(grpc) = read::present_mut(probe, "grpc") {
        read::set_default(grpc, "service", "");
    }
}

fn default_http_get(handler: &mut Value) {
    if let Some(get) = read::present_mut(handler, "httpGet") {
        read::set_default_text(get, "path", "/");
        read::set_default_text(get, "scheme", "HTTP");
    }
}

/// A limit without a request is also the request.
fn requests_from_limits(container: &mut Value) {
    let Some(resources) = read::present_mut(container, "resources") else { return };
    let Some(limits) = resources.at("limits").as_object().cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = read::object_mut(resources, "requests");
    for (name, limit) in limits {
        read::set_default(requests, &name, limit);
    }
}

/// Fields of a volume that say what it is.
fn has_source(volume: &Value) -> bool {
    let fields = volume.as_object().into_iter().flatten();
    fields.into_iter().any(|(key, value)| key != "name" && !value.is_null())
}

fn default_volume(volume: &mut Value) {
    if !has_source(volume) {
        read::set(volume, "emptyDir", Value::Object(Map::new()));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = read::present_mut(volume, source) {
            read::set_default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = read::present_mut(volume, "downwardAPI") {
        default_downward(source);
    }
    if let Some(projected) = read::present_mut(volume, "projected") {
        for source in read::list_mut(projected, "sources") {
            if let Some(source) = read::present_mut(source, "downwardAPI") {
                default_downward(source);
            }
            if let Some(token) = read::present_mut(source, "serviceAccountToken") {
                read::set_default(token, "expirationSeconds", TOKEN_SECONDS);
            }
        }
    }
    if let Some(host_path) = read::present_mut(volume, "hostPath") {
        read::set_default(host_path, "type", "");
    }
    if let Some(ephemeral) = read::present_mut(volume, "ephemeral")
        && let Some(claim) = read::present_mut(ephemeral, "volumeClaimTemplate")
    {
        read::set_default(read::object_mut(claim, "spec"), "volumeMode", "Filesystem");
    }
}

fn default_downward(source: &mut Value) {
    for item in read::list_mut(source, "items") {
        if let Some(field) = read::present_mut(item, "fieldRef") {
            read::set_default_text(field, "apiVersion", "v1");
        }
        if let Some(field) = read::present_mut(item, "resourceFieldRef") {
            read::set_default(field, "divisor", "0");
        }
    }
}
