//! The files of volumes whose content comes from the API. Pure.
//!
//! `serviceAccountToken` sources are left out: there are no tokens yet. A projected volume that has one
//! still gets its other files (`kube-root-ca.crt`, the namespace).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};

use super::atomic::{File, Payload};
use crate::env::{ConfigError, Facts, Sources};
use crate::fields;

const DEFAULT_MODE: i32 = 0o644;

/// The files of a volume; `None` for volumes whose content does not come from the API.
pub fn of(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    facts: &Facts,
) -> Result<Option<Payload>, ConfigError> {
    let mut payload = Payload::new();
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        config_map(&mut payload, &source.name, source.items.as_deref(), source.optional, mode, sources)?;
    } else if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        secret(&mut payload, name, source.items.as_deref(), source.optional, mode, sources)?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        downward(&mut payload, pod, source.items.as_deref(), mode, facts)?;
    } else if let Some(projected) = &volume.projected {
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for source in projected.sources.iter().flatten() {
            if let Some(source) = &source.config_map {
                let items = source.items.as_deref();
                config_map(&mut payload, &source.name, items, source.optional, mode, sources)?;
            }
            if let Some(source) = &source.secret {
                let items = source.items.as_deref();
                secret(&mut payload, &source.name, items, source.optional, mode, sources)?;
            }
            if let Some(source) = &source.downward_api {
                downward(&mut payload, pod, source.items.as_deref(), mode, facts)?;
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(payload))
}

fn config_map(
    payload: &mut Payload,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
    sources: &Sources,
) -> Result<(), ConfigError> {
    let optional = optional == Some(true);
    let Some(map) = sources.config_maps.get(name).and_then(Option::as_ref) else {
        return if optional { Ok(()) } else { Err(ConfigError(format!("configmap {name:?} not found"))) };
    };
    let mut data: BTreeMap<&String, &[u8]> =
        map.data.iter().flatten().map(|(key, value)| (key, value.as_bytes())).collect();
    data.extend(map.binary_data.iter().flatten().map(|(key, value)| (key, value.0.as_slice())));
    project(payload, "configmap", &data, items, optional, mode)
}

fn secret(
    payload: &mut Payload,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
    sources: &Sources,
) -> Result<(), ConfigError> {
    let optional = optional == Some(true);
    let Some(secret) = sources.secrets.get(name).and_then(Option::as_ref) else {
        return if optional { Ok(()) } else { Err(ConfigError(format!("secret {name:?} not found"))) };
    };
    let data = secret.data.iter().flatten().map(|(key, value)| (key, value.0.as_slice())).collect();
    project(payload, "secret", &data, items, optional, mode)
}

fn project(
    payload: &mut Payload,
    kind: &str,
    data: &BTreeMap<&String, &[u8]>,
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: i32,
) -> Result<(), ConfigError> {
    let mut put = |path: &str, content: &[u8], mode: i32| {
        payload.insert(path.to_owned(), File { content: content.to_vec(), mode: bits(mode) });
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, content) in data {
            put(key, content, mode);
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(content) => put(&item.path, content, item.mode.unwrap_or(mode)),
            None if optional => {}
            None => {
                let message = format!("{kind} references non-existent {kind} key: {}", item.key);
                return Err(ConfigError(message.replace("configmap key", "config key")));
            }
        }
    }
    Ok(())
}

fn downward(
    payload: &mut Payload,
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: i32,
    facts: &Facts,
) -> Result<(), ConfigError> {
    for item in items.unwrap_or_default() {
        let content = if let Some(reference) = &item.field_ref {
            fields::field(pod, &reference.field_path, facts)?
        } else if let Some(reference) = &item.resource_field_ref {
            let name = reference.container_name.as_deref().unwrap_or_default();
            let divisor = reference.divisor.as_ref().map(|divisor| divisor.0.as_str());
            fields::resource(fields::container(pod, name)?, &reference.resource, divisor, facts)?
        } else {
            continue;
        };
        let mode = bits(item.mode.unwrap_or(mode));
        payload.insert(item.path.clone(), File { content: content.into_bytes(), mode });
    }
    Ok(())
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o644) & 0o777
}
