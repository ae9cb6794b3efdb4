//! Volumes of a pod, and where its containers mount them.

use model::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::env;
use crate::kinds::check;
use crate::kinds::read::Read;

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The volumes themselves.
pub(crate) fn volumes(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let volumes = spec.list("volumes");
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.child("volumes").index(index);
        let name = volume.text("name");
        errors.extend(source(volume, &path));
        if check::required(volume, &path, "name", &mut errors) {
            errors.extend(check::each(&path.child("name"), name, model::names::dns1123_label(name)));
            if volumes[..index].iter().any(|other| other.text("name") == name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
    }
    errors
}

/// Exactly one source.
fn source(volume: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let fields = volume.as_object().into_iter().flatten();
    let sources = fields.filter(|(key, value)| *key != "name" && !value.is_null());
    let mut found = false;
    for (key, source) in sources {
        let path = path.child(key);
        if found {
            errors.push(Error::forbidden(&path, "may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        errors.extend(one_source(key, source, &path));
    }
    if !found {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    errors
}

fn one_source(kind: &str, source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut needs = |keys: &[&str]| {
        for key in keys {
            check::required(source, path, key, &mut errors);
        }
    };
    match kind {
        "hostPath" => return host_path(source, path),
        "emptyDir" => return empty_dir(source, path),
        "secret" => needs(&["secretName"]),
        "configMap" => needs(&["name"]),
        "persistentVolumeClaim" => needs(&["claimName"]),
        "nfs" => needs(&["server", "path"]),
        "csi" => needs(&["driver"]),
        "downwardAPI" => {
            errors.extend(mode(source, path, "defaultMode"));
            errors.extend(files(source, path));
            return errors;
        }
        "projected" => {
            errors.extend(mode(source, path, "defaultMode"));
            errors.extend(projected(source, path));
            return errors;
        }
        _ => return errors,
    }
    errors.extend(mode(source, path, "defaultMode"));
    errors.extend(items(source, path));
    errors
}

/// A directory or a file of the host.
pub(crate) fn host_path(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if check::required(source, path, "path", &mut errors) {
        errors.extend(no_backsteps(source.text("path"), &path.child("path")));
    }
    if source.has("type") {
        check::one_of_if_set(source, path, "type", &HOST_PATH_TYPES, &mut errors);
    }
    errors
}

fn empty_dir(source: &Value, path: &Path) -> ErrorList {
    let limit = source.at("sizeLimit");
    let valid = limit.is_null() || super::resources::quantity(limit).is_some_and(|limit| limit.sign() >= 0);
    if valid {
        return ErrorList::new();
    }
    let detail = "SizeLimit field must be a valid resource quantity";
    vec![Error::forbidden(&path.child("sizeLimit"), detail)]
}

fn mode(source: &Value, path: &Path, key: &str) -> Option<Error> {
    let mode = source.number(key).filter(|mode| !(0..=0o777).contains(mode))?;
    let detail = "must be a number between 0 and 0777 (octal), both inclusive";
    Some(Error::invalid(&path.child(key), mode, detail))
}

/// Which key goes into which file.
fn items(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, item) in source.list("items").iter().enumerate() {
        let path = path.child("items").index(index);
        check::required(item, &path, "key", &mut errors);
        if check::required(item, &path, "path", &mut errors) {
            errors.extend(local_path(item.text("path"), &path.child("path")));
        }
        errors.extend(mode(item, &path, "mode"));
    }
    errors
}

fn files(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, item) in source.list("items").iter().enumerate() {
        let path = path.child("items").index(index);
        if check::required(item, &path, "path", &mut errors) {
            errors.extend(local_path(item.text("path"), &path.child("path")));
        }
        errors.extend(env::file(item, &path));
        errors.extend(mode(item, &path, "mode"));
    }
    errors
}

fn projected(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, source) in source.list("sources").iter().enumerate() {
        let path = path.child("sources").index(index);
        let mut found = false;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let source = source.at(kind);
            if source.is_null() {
                continue;
            }
            let path = path.child(kind);
            if found {
                errors.push(Error::forbidden(&path, "may not specify more than 1 volume type"));
            }
            found = true;
            match kind {
                "secret" | "configMap" => {
                    check::required(source, &path, "name", &mut errors);
                    errors.extend(items(source, &path));
                }
                "downwardAPI" => errors.extend(files(source, &path)),
                "serviceAccountToken" => errors.extend(token(source, &path)),
                _ => {}
            }
        }
        if !found {
            errors.push(Error::required(&path, "must specify a volume type"));
        }
    }
    errors
}

fn token(source: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let expiration = source.number("expirationSeconds").unwrap_or_default();
    let mut refuse =
        |detail: &str| errors.push(Error::invalid(&path.child("expirationSeconds"), expiration, detail));
    if expiration < 600 {
        refuse("may not specify a duration less than 10 minutes");
    } else if expiration > 1 << 32 {
        refuse("may not specify a duration larger than 2^32 seconds");
    }
    check::required(source, path, "path", &mut errors);
    errors
}

fn no_backsteps(text: &str, path: &Path) -> Option<Error> {
    let steps_back = text.split('/').any(|part| part == "..");
    steps_back.then(|| Error::invalid(path, text, "must not contain '..'"))
}

/// A path that stays below where it starts.
fn local_path(text: &str, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if text.starts_with('/') {
        errors.push(Error::invalid(path, text, "must be a relative path"));
    }
    errors.extend(no_backsteps(text, path));
    errors
}

/// `volumeMounts` and `volumeDevices` of a container.
pub(crate) fn mounts(container: &Value, volumes: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mounts = container.list("volumeMounts");
    let devices = container.list("volumeDevices");
    let there = |name: &str| volumes.iter().any(|volume| volume.text("name") == name);
    for (index, mount) in mounts.iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        let (name, at) = (mount.text("name"), mount.text("mountPath"));
        check::required(mount, &path, "name", &mut errors);
        if !name.is_empty() && !there(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        check::required(mount, &path, "mountPath", &mut errors);
        if mounts[..index].iter().any(|other| other.text("mountPath") == at) {
            errors.push(Error::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        if devices.iter().any(|device| device.text("name") == name) {
            let detail = "must not already exist in volumeDevices";
            errors.push(Error::invalid(&path.child("name"), name, detail));
        }
        for key in ["subPath", "subPathExpr"] {
            errors.extend(local_path(mount.text(key), &path.child(key)));
        }
        if !mount.text("subPath").is_empty() && !mount.text("subPathExpr").is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(Error::invalid(&path.child("subPathExpr"), mount.text("subPathExpr"), detail));
        }
        let propagations = ["Bidirectional", "HostToContainer", "None"];
        check::one_of_if_set(mount, &path, "mountPropagation", &propagations, &mut errors);
        let privileged = container.flag("securityContext.privileged");
        if mount.text("mountPropagation") == "Bidirectional" && !privileged {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(Error::forbidden(&path.child("mountPropagation"), detail));
        }
    }
    for (index, device) in devices.iter().enumerate() {
        let path = path.child("volumeDevices").index(index);
        let name = device.text("name");
        check::required(device, &path, "devicePath", &mut errors);
        if check::required(device, &path, "name", &mut errors) && !there(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
    }
    errors
}
