//! Containers and init containers.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{env, probes, resources, security, volumes};
use crate::kinds::check;
use crate::kinds::endpoints::PROTOCOLS;
use crate::kinds::read::Read;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// All containers of a pod: there is at least one, and no name twice.
pub(crate) fn containers(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let containers = spec.list("containers");
    let inits = spec.list("initContainers");
    if containers.is_empty() {
        errors.push(Error::required(&path.child("containers"), ""));
    }
    for (index, container) in containers.iter().enumerate() {
        let path = path.child("containers").index(index);
        errors.extend(common(container, spec, &path));
        errors.extend(probes::of_container(container, &path));
        let name = container.text("name");
        if !name.is_empty() && containers[..index].iter().any(|other| other.text("name") == name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
    for (index, container) in inits.iter().enumerate() {
        let path = path.child("initContainers").index(index);
        errors.extend(common(container, spec, &path));
        errors.extend(init_only(container, &path));
        let name = container.text("name");
        let mut others = containers.iter().chain(&inits[..index]);
        if !name.is_empty() && others.any(|other| other.text("name") == name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
    errors.extend(host_port_conflicts(containers, &path.child("containers")));
    errors
}

fn common(container: &Value, spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = container.text("name");
    if check::required(container, path, "name", &mut errors) {
        errors.extend(check::each(&path.child("name"), name, model::names::dns1123_label(name)));
    }
    errors.extend(image(container.text("image"), &path.child("image")));
    let policies = ["FallbackToLogsOnError", "File"];
    check::one_of_if_set(container, path, "terminationMessagePolicy", &policies, &mut errors);
    errors.extend(ports(container, spec.flag("hostNetwork"), path));
    errors.extend(env::of_container(container, path));
    errors.extend(volumes::mounts(container, spec.list("volumes"), path));
    check::one_of_if_set(container, path, "imagePullPolicy", &PULL_POLICIES, &mut errors);
    errors.extend(resources::requirements(container.at("resources"), &path.child("resources")));
    errors.extend(security::of_container(container, path));
    errors
}

/// Init containers that end have no probes and no hooks; those that go on running may.
fn init_only(container: &Value, path: &Path) -> ErrorList {
    if container.text("restartPolicy") == "Always" {
        return probes::of_container(container, path);
    }
    let mut errors = ErrorList::new();
    if container.has("lifecycle") {
        let detail = "may not be set for init containers without restartPolicy=Always";
        errors.push(Error::forbidden(&path.child("lifecycle"), detail));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(probe) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(Error::forbidden(&path.child(probe), detail));
        }
    }
    errors
}

/// An image reference.
pub(crate) fn image(image: &str, path: &Path) -> ErrorList {
    if image.is_empty() {
        return vec![Error::required(path, "")];
    }
    if image.trim() != image {
        return vec![Error::invalid(path, image, "must not have leading or trailing whitespace")];
    }
    ErrorList::new()
}

fn ports(container: &Value, host_network: bool, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let ports = container.list("ports");
    for (index, port) in ports.iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let messages = model::names::port_name(name);
            if messages.is_empty() && ports[..index].iter().any(|other| other.text("name") == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            errors.extend(check::each(&path.child("name"), name, messages));
        }
        let number = port.number("containerPort").unwrap_or_default();
        match number {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number => errors.extend(check::port_number(&path.child("containerPort"), number)),
        }
        let host = port.number("hostPort").unwrap_or_default();
        if host != 0 {
            errors.extend(check::port_number(&path.child("hostPort"), host));
        }
        if host_network && host != 0 && host != number {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.push(Error::invalid(&path.child("containerPort"), number, detail));
        }
        check::one_of(port, &path, "protocol", &PROTOCOLS, &mut errors);
    }
    errors
}

/// No two containers may want the same port of the host.
fn host_port_conflicts(containers: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (port_index, port) in container.list("ports").iter().enumerate() {
            let Some(host) = port.number("hostPort").filter(|port| *port != 0) else { continue };
            let key = format!("{}/{}/{host}", port.text("protocol"), port.text("hostIP"));
            if seen.contains(&key) {
                let path = path.index(index).child("ports").index(port_index).child("hostPort");
                errors.push(Error::duplicate(&path, key));
            } else {
                seen.push(key);
            }
        }
    }
    errors
}
