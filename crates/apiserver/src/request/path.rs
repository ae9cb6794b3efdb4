//! What a URL's path means.

use model::resource::GroupVersionResource;

/// A path below `/api` or `/apis`, taken apart. Names are as the client wrote them, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// The old `/watch/` form of a watch.
    pub(crate) watch: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiPath {
    /// `/api`.
    Core,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1` and `/apis/<group>/<version>`.
    Version(String, String),
    /// An object, a collection or a subresource.
    Resource(ResourcePath),
}

/// Takes a path apart; `None` when it is none of the API's.
pub(crate) fn parse(path: &str) -> Option<ApiPath> {
    let mut segments = Vec::new();
    for segment in path.trim_matches('/').split('/') {
        segments.push(decode(segment)?);
    }
    let mut segments = segments.into_iter();
    let (group, version) = match segments.next()?.as_str() {
        "api" => match segments.next() {
            None => return Some(ApiPath::Core),
            Some(version) => (String::new(), version),
        },
        "apis" => match (segments.next(), segments.next()) {
            (None, _) => return Some(ApiPath::Groups),
            (Some(group), None) => return Some(ApiPath::Group(group)),
            (Some(group), Some(version)) => (group, version),
        },
        _ => return None,
    };
    let mut rest: Vec<String> = segments.collect();
    if rest.is_empty() {
        return Some(ApiPath::Version(group, version));
    }
    let watch = rest[0] == "watch" && rest.len() > 1;
    if watch {
        rest.remove(0);
    }
    // `namespaces/x` and `namespaces/x/status` are the namespace itself.
    let below = rest[0] == "namespaces"
        && rest.len() > 2
        && !(group.is_empty() && matches!(rest[2].as_str(), "status" | "finalize"));
    let namespace = if below { rest.drain(..2).nth(1)? } else { String::new() };
    if rest.len() > 3 || rest.iter().any(String::is_empty) || below && namespace.is_empty() {
        return None;
    }
    let mut rest = rest.into_iter();
    Some(ApiPath::Resource(ResourcePath {
        group,
        version,
        resource: rest.next()?,
        namespace,
        name: rest.next().unwrap_or_default(),
        subresource: rest.next().unwrap_or_default(),
        watch,
    }))
}

impl ResourcePath {
    /// The resource.
    pub(crate) fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource {
            group: self.group.clone().into(),
            version: self.version.clone().into(),
            resource: self.resource.clone().into(),
        }
    }
}

/// Undoes percent-encoding; `None` for what is no UTF-8, or smuggles a slash or a NUL in.
pub(crate) fn decode(segment: &str) -> Option<String> {
    let decoded = percent_decode(segment, false)?;
    (!decoded.contains(['/', '\0'])).then_some(decoded)
}

/// Undoes percent-encoding, in queries with `+` for a space.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match parse(path) {
            Some(ApiPath::Resource(resource)) => resource,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let pod = resource("/api/v1/namespaces/default/pods/web-0/log");
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("default", "web-0"));
        assert_eq!(pod.subresource, "log");
        let namespace = resource("/api/v1/namespaces/default/finalize");
        assert_eq!((namespace.resource.as_str(), namespace.subresource.as_str()), ("namespaces", "finalize"));
        assert!(resource("/apis/apps/v1/watch/statefulsets").watch);
        assert_eq!(parse("/apis/apps/v1"), Some(ApiPath::Version("apps".into(), "v1".into())));
        assert_eq!(parse("/api/"), Some(ApiPath::Core));
    }

    #[test]
    fn paths_that_smuggle_are_none() {
        for path in
            ["/api/v1/pods/a%2fb", "/api/v1/pods/%zz", "/api/v1/pods/a/b/c/d", "/x", "/api/v1/pods//log"]
        {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
