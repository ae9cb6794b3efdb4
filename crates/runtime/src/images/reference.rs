//! References: what users write for an image, made full the way Docker does.
//!
//! `busybox` is `docker.io/library/busybox:latest`; a first part with a dot, a colon or `localhost` is a
//! host.
//!
//! Read next: [`super::store`] (looks images up by them), [`super::registry`] (pulls by them).

use std::fmt;

use crate::api::ImageError;

use super::digest::Digest;

/// Docker's registry, as references call it.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Longest name of a repository with its registry, as the distribution project has it.
const NAME_LENGTH_MAX: usize = 255;

/// Longest tag, likewise.
const TAG_LENGTH_MAX: usize = 128;

/// A full reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference as users write it.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let bad =
            |reason: &str| ImageError::BadReference { reference: text.to_owned(), reason: reason.to_owned() };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest =
                    Digest::parse(digest).map_err(|_| bad("its digest is not sha256 and 64 digits"))?;
                (rest, Some(digest))
            }
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("its tag may have letters, digits, '_', '.' and '-', at most 128"));
        }
        if digest.is_none() && tag.is_none() && name.len() == 64 && name.bytes().all(is_lower_hex) {
            return Err(bad("a repository cannot be named by 64 hexadecimal digits"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, repository)) if is_registry(first) => (first, repository.to_owned()),
            _ => (DOCKER_HUB, name.to_owned()),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        if !is_host(registry) {
            return Err(bad("its registry is not a host name"));
        }
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository
        };
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(bad("the repository's name must be in lower case"));
        }
        if !repository.split('/').all(is_path_part) {
            return Err(bad(
                "the repository's name may have lower-case letters, digits, '.', '_' and '-' between",
            ));
        }
        if registry.len() + 1 + repository.len() > NAME_LENGTH_MAX {
            return Err(bad("the repository's name is longer than 255"));
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// The registry's host, with its port where one was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The digest, where one was given: it decides alone.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask the registry for: the digest, or else the tag.
    pub(super) fn version(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// `registry/repository:tag`, unless a digest decides.
    pub fn tagged(&self) -> Option<String> {
        match (&self.tag, &self.digest) {
            (Some(tag), None) => Some(format!("{}/{}:{tag}", self.registry, self.repository)),
            _ => None,
        }
    }

    /// `registry/repository@digest`.
    pub fn pinned(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_LENGTH_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Whether the first part of a name is a registry, not a part of the repository.
fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains('.')
        || first.contains(':')
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    name.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    part.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        Reference::parse(text).unwrap().to_string()
    }

    #[test]
    fn short_names_become_full_as_docker_makes_them() {
        let hex = "a".repeat(64);
        assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full("redis:alpine"), "docker.io/library/redis:alpine");
        assert_eq!(full("bitnami/redis"), "docker.io/bitnami/redis:latest");
        assert_eq!(full("index.docker.io/busybox:1"), "docker.io/library/busybox:1");
        assert_eq!(full("localhost/x"), "localhost/x:latest");
        assert_eq!(full("localhost:5000/x"), "localhost:5000/x:latest");
        assert_eq!(full("registry.k8s.io/pause:3.10"), "registry.k8s.io/pause:3.10");
        assert_eq!(full("[::1]:5000/a/b:c"), "[::1]:5000/a/b:c");
        assert_eq!(full("a__b/c--d.e"), "docker.io/a__b/c--d.e:latest");
        assert_eq!(full(&format!("x@sha256:{hex}")), format!("docker.io/library/x@sha256:{hex}"));
        assert_eq!(full(&format!("q.io/x:1@sha256:{hex}")), format!("q.io/x:1@sha256:{hex}"));
    }

    #[test]
    fn a_digest_decides_even_beside_a_tag() {
        let digest = format!("sha256:{}", "b".repeat(64));
        let reference = Reference::parse(&format!("x:1@{digest}")).unwrap();
        assert_eq!(reference.version(), digest);
        assert_eq!(reference.tagged(), None);
    }

    #[test]
    fn malformed_references_are_invalid_image_names() {
        let hex = "a".repeat(64);
        let long = "a".repeat(251);
        for text in [
            "",
            "Busybox",
            "x:",
            ":x",
            "x:a b",
            "x/",
            "/x",
            "a//b",
            "x@sha256:12",
            "x@md5:00",
            "-x",
            "x-",
            "a._b",
            "a___b",
            "q.io:port/x",
            "q..io/x",
            "../x",
            "x:-a",
            "q.io/../x",
            "a b",
            &hex,
            &format!("x:{}", "t".repeat(129)),
            &format!("q.io/{long}"),
        ] {
            let error = Reference::parse(text).unwrap_err();
            assert!(matches!(error, ImageError::BadReference { .. }), "{text:?}: {error}");
        }
    }
}
