//! `registries.yaml` in the form k3s users know: mirrors with rewrites, credentials and certificates.
//!
//! Read next: [`super::client`] (who asks the endpoints that come out of it).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Uri;
use serde::Deserialize;

use super::is_local;
use crate::api::{ImageError, RegistryAuth};
use crate::images::failed;
use crate::images::reference::{DOCKER_HUB, Reference};

/// Where Docker's registry really is.
const DOCKER_HUB_ENDPOINT: &str = "https://registry-1.docker.io";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::images) struct Registries {
    #[serde(default)]
    mirrors: BTreeMap<String, Mirror>,
    #[serde(default)]
    configs: BTreeMap<String, HostConfig>,
}

#[derive(Debug, Default, Deserialize)]
struct Mirror {
    #[serde(default)]
    endpoint: Vec<String>,
    /// Regular expressions over the repository, and what to write for a match.
    #[serde(default)]
    rewrite: BTreeMap<String, String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct HostConfig {
    #[serde(default)]
    auth: Option<AuthConfig>,
    #[serde(default)]
    tls: Tls,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct AuthConfig {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    /// `username:password` in base64.
    #[serde(default)]
    auth: String,
    #[serde(default, alias = "identitytoken", alias = "identityToken")]
    identity_token: String,
}

/// How to trust a host and how to be known to it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Tls {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) insecure_skip_verify: bool,
}

/// Credentials for one host.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Credentials {
    /// None.
    #[default]
    Anonymous,
    /// User name and password.
    Password(RegistryAuth),
    /// A token that is given for another token.
    Identity(String),
}

/// One place to get an image from.
#[derive(Clone)]
pub(in crate::images) struct Endpoint {
    /// `https://host[:port][/path]/v2`.
    pub(super) base: String,
    /// The repository as it is called there.
    pub(super) repository: String,
    /// The registry it stands for, where it is a mirror of several.
    pub(super) namespace: Option<String>,
    pub(super) credentials: Credentials,
    pub(super) tls: Tls,
}

impl Registries {
    /// Reads the file.
    pub(in crate::images) fn read(path: &Path) -> Result<Self, ImageError> {
        let wrong = |reason: String| failed(&format!("read {}", path.display()), reason);
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let registries: Self = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        for mirror in registries.mirrors.values() {
            for pattern in mirror.rewrite.keys() {
                regex::Regex::new(pattern).map_err(|error| wrong(error.to_string()))?;
            }
            for endpoint in &mirror.endpoint {
                let uri: Uri =
                    base(endpoint).parse().map_err(|error| wrong(format!("{endpoint}: {error}")))?;
                if uri.host().is_none() || !matches!(uri.scheme_str(), None | Some("http" | "https")) {
                    return Err(wrong(format!("the endpoint {endpoint:?} is not an http or https address")));
                }
            }
        }
        Ok(registries)
    }

    /// Where to look for an image, in this order. Credentials given with the request are for the image's own
    /// registry: a mirror does not see them.
    pub(in crate::images) fn endpoints(
        &self,
        reference: &Reference,
        auth: Option<&RegistryAuth>,
    ) -> Vec<Endpoint> {
        let registry = reference.registry();
        let mut endpoints = Vec::new();
        if let Some(mirror) = self.mirrors.get(registry).or_else(|| self.mirrors.get("*")) {
            let repository = mirror.rewritten(reference.repository());
            endpoints.extend(mirror.endpoint.iter().map(|endpoint| {
                let base = base(endpoint);
                let host = host(&base).to_owned();
                Endpoint {
                    namespace: (host != registry).then(|| registry.to_owned()),
                    credentials: self.credentials(&host),
                    tls: self.tls(&host),
                    repository: repository.clone(),
                    base,
                }
            }));
        }
        let own = match registry {
            DOCKER_HUB => vec![DOCKER_HUB_ENDPOINT.to_owned()],
            // A registry on this machine mostly has no certificate.
            local if is_local(local) => vec![format!("https://{local}"), format!("http://{local}")],
            other => vec![format!("https://{other}")],
        };
        endpoints.extend(own.iter().map(|endpoint| {
            let base = base(endpoint);
            let named = [registry, host(&base)].into_iter().find(|host| self.configs.contains_key(*host));
            let credentials = match auth {
                Some(auth) => Credentials::Password(auth.clone()),
                None => named.map(|host| self.credentials(host)).unwrap_or_default(),
            };
            Endpoint {
                credentials,
                tls: named.map(|host| self.tls(host)).unwrap_or_default(),
                repository: reference.repository().to_owned(),
                namespace: None,
                base,
            }
        }));
        endpoints
    }

    fn credentials(&self, host: &str) -> Credentials {
        use base64::Engine as _;
        let Some(auth) = self.configs.get(host).and_then(|config| config.auth.clone()) else {
            return Credentials::Anonymous;
        };
        if !auth.identity_token.is_empty() {
            return Credentials::Identity(auth.identity_token);
        }
        let (mut username, mut password) = (auth.username, auth.password);
        let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).unwrap_or_default();
        if let Some((user, secret)) = String::from_utf8_lossy(&decoded).split_once(':')
            && username.is_empty()
        {
            (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        if username.is_empty() {
            return Credentials::Anonymous;
        }
        Credentials::Password(RegistryAuth { username, password })
    }

    fn tls(&self, host: &str) -> Tls {
        self.configs.get(host).map(|config| config.tls.clone()).unwrap_or_default()
    }
}

impl Mirror {
    /// The first pattern that matches decides.
    fn rewritten(&self, repository: &str) -> String {
        for (pattern, replacement) in &self.rewrite {
            if let Ok(pattern) = regex::Regex::new(pattern)
                && pattern.is_match(repository)
            {
                return pattern.replace_all(repository, replacement.as_str()).into_owned();
            }
        }
        repository.to_owned()
    }
}

/// With a scheme, and with `/v2` at the end.
fn base(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let scheme = if endpoint.contains("://") { "" } else { "https://" };
    let version = if endpoint.ends_with("/v2") { "" } else { "/v2" };
    format!("{scheme}{endpoint}{version}")
}

/// Host and port of an address.
fn host(base: &str) -> &str {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Registries, ImageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.yaml");
        std::fs::write(&path, text).unwrap();
        Registries::read(&path)
    }

    fn bases(registries: &Registries, reference: &str) -> Vec<String> {
        let endpoints = registries.endpoints(&Reference::parse(reference).unwrap(), None);
        endpoints.iter().map(|endpoint| format!("{} {}", endpoint.base, endpoint.repository)).collect()
    }

    #[test]
    fn mirrors_come_first_and_only_they_are_rewritten() {
        let text = r#"
mirrors:
  docker.io:
    endpoint: ["http://127.0.0.1:5000", "https://mirror.example/hub/"]
    rewrite:
      "^library/(.*)": "official/$1"
  "*":
    endpoint: ["mirror.example:8443/v2"]
"#;
        let registries = read(text).unwrap();
        assert_eq!(
            bases(&registries, "redis:alpine"),
            [
                "http://127.0.0.1:5000/v2 official/redis",
                "https://mirror.example/hub/v2 official/redis",
                "https://registry-1.docker.io/v2 library/redis",
            ]
        );
        assert_eq!(
            bases(&registries, "quay.io/a/b"),
            ["https://mirror.example:8443/v2 a/b", "https://quay.io/v2 a/b"]
        );
    }

    #[test]
    fn a_registry_on_this_machine_may_speak_plain_http() {
        let none = Registries::default();
        assert_eq!(
            bases(&none, "localhost:5000/x"),
            ["https://localhost:5000/v2 x", "http://localhost:5000/v2 x"]
        );
        assert_eq!(bases(&none, "127.0.0.1:5000/x").len(), 2);
        assert_eq!(bases(&none, "[::1]:5000/x").len(), 2);
        assert_eq!(bases(&none, "registry.example:5000/x").len(), 1);
    }

    #[test]
    fn credentials_of_a_request_are_not_shown_to_mirrors() {
        let text = r#"
mirrors: {docker.io: {endpoint: ["https://m.example"]}}
configs:
  m.example: {auth: {auth: "bWU6c2VjcmV0"}, tls: {insecure_skip_verify: true}}
  q.io: {auth: {identity_token: "token"}}
"#;
        let registries = read(text).unwrap();
        let auth = RegistryAuth { username: "u".to_owned(), password: "p".to_owned() };
        let endpoints = registries.endpoints(&Reference::parse("x").unwrap(), Some(&auth));
        let me = RegistryAuth { username: "me".to_owned(), password: "secret".to_owned() };
        assert!(endpoints[0].credentials == Credentials::Password(me));
        assert!(endpoints[0].tls.insecure_skip_verify);
        assert!(endpoints[1].credentials == Credentials::Password(auth));
        let endpoints = registries.endpoints(&Reference::parse("q.io/x").unwrap(), None);
        assert!(endpoints[0].credentials == Credentials::Identity("token".to_owned()));
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_an_error() {
        for text in ["mirrors: 3", "mirror: {}", "mirrors: {x: {endpoint: [\"ftp://x\"]}}"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("mirrors: {x: {rewrite: {\"(\": \"y\"}}}").is_err());
        assert!(read("").is_ok());
    }
}
