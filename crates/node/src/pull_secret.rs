//! Finding the user name and password for an image's registry among the pod's pull secrets, in both forms
//! that `kubectl create secret docker-registry` and older tools write.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use client::Client;
use k8s_openapi::api::core::v1::Secret;
use runtime::api::RegistryAuth;
use serde_json::Value;

use crate::view::PodView;

/// What the pod's `imagePullSecrets` say about the registry of `reference`.
pub(crate) async fn find(client: &Client, view: &PodView, reference: &str) -> Option<RegistryAuth> {
    let secrets = view.spec()?.image_pull_secrets.as_ref()?;
    for name in secrets.iter().map(|secret| &secret.name) {
        // A secret that is not there does not keep a public image from being pulled.
        let Ok(secret) = client.get::<Secret>(view.namespace(), name).await else {
            continue;
        };
        let Some(data) = &secret.data else {
            continue;
        };
        let parsed = |key: &str| data.get(key).and_then(|data| serde_json::from_slice::<Value>(&data.0).ok());
        let auths = parsed(".dockerconfigjson").and_then(|config| config.get("auths").cloned());
        // The older form is the same map without the object around it.
        let Some(auths) = auths.or_else(|| parsed(".dockercfg")) else {
            continue;
        };
        if let Some(auth) = in_auths(&auths, reference) {
            return Some(auth);
        }
    }
    None
}

fn in_auths(auths: &Value, reference: &str) -> Option<RegistryAuth> {
    let registry = registry_of(reference);
    let (_, entry) = auths.as_object()?.iter().find(|(key, _)| host_of(key) == registry)?;
    let text = |field: &str| {
        entry.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    match (text("username"), text("password")) {
        (Some(username), Some(password)) => Some(RegistryAuth { username, password }),
        _ => decoded(&text("auth")?),
    }
}

/// `auth` is `user:password` in base64, with or without padding.
fn decoded(auth: &str) -> Option<RegistryAuth> {
    let bytes = STANDARD.decode(auth.trim()).or_else(|_| STANDARD_NO_PAD.decode(auth.trim())).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    // Some tools end the text with a zero byte.
    let password = password.trim_end_matches('\0');
    Some(RegistryAuth { username: username.to_owned(), password: password.to_owned() })
}

/// `index.docker.io` and an image without a host both mean Docker Hub.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

fn host_of(key: &str) -> &str {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let host = key.split('/').next().unwrap_or(key);
    if host == "index.docker.io" { "docker.io" } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_entry_of_the_images_own_registry_is_taken() {
        let auths = json!({
            "https://index.docker.io/v1/": {"username": "hub", "password": "a"},
            "localhost:5000": {"username": "own", "password": "b"},
        });
        let user = |reference: &str| in_auths(&auths, reference).map(|auth| auth.username);
        assert_eq!(user("redis:alpine").as_deref(), Some("hub"));
        assert_eq!(user("localhost:5000/redis").as_deref(), Some("own"));
        assert_eq!(user("ghcr.io/a/b"), None);
    }

    #[test]
    fn a_name_and_password_may_be_encoded_together() {
        // "own:a:b" and the same without padding.
        for auth in ["b3duOmE6Yg==", "b3duOmE6Yg"] {
            let auths = json!({"localhost:5000": {"auth": auth}});
            let found = in_auths(&auths, "localhost:5000/redis").expect("found");
            assert_eq!((found.username.as_str(), found.password.as_str()), ("own", "a:b"));
        }
        let broken = json!({"localhost:5000": {"auth": "%%"}});
        assert!(in_auths(&broken, "localhost:5000/redis").is_none());
    }
}
