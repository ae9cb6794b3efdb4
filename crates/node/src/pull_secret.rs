//! Finding the user name and password for an image's registry among the pod's pull secrets.

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
        let data = secret.data.as_ref().and_then(|data| data.get(".dockerconfigjson"));
        let parsed = data.and_then(|data| serde_json::from_slice::<Value>(&data.0).ok());
        if let Some(auth) = parsed.and_then(|config| in_config(&config, reference)) {
            return Some(auth);
        }
    }
    None
}

fn in_config(config: &Value, reference: &str) -> Option<RegistryAuth> {
    let registry = registry_of(reference);
    let entries = config.get("auths")?.as_object()?;
    let (_, entry) = entries.iter().find(|(key, _)| host_of(key) == registry)?;
    let text = |field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    Some(RegistryAuth { username: text("username")?, password: text("password")? })
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
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"username": "hub", "password": "a"},
            "localhost:5000": {"username": "own", "password": "b"},
        }});
        let user = |reference: &str| in_config(&config, reference).map(|auth| auth.username);
        assert_eq!(user("redis:alpine").as_deref(), Some("hub"));
        assert_eq!(user("localhost:5000/redis").as_deref(), Some("own"));
        assert_eq!(user("ghcr.io/a/b"), None);
    }
}
