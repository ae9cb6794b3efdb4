//! How kinds and resources are named.
//!
//! A *kind* is the name inside an object (`StatefulSet`), a *resource* the name in a URL (`statefulsets`).
//! The core group is the empty string, as everywhere in Kubernetes.

use std::borrow::Cow;
use std::fmt;

/// Group, version and kind, as an object's `apiVersion` and `kind` carry them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// Version inside the group, such as `v1`.
    pub version: Cow<'static, str>,
    /// Kind, such as `Pod`.
    pub kind: Cow<'static, str>,
}

impl GroupVersionKind {
    /// A kind known when the program is built.
    pub const fn constant(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
    ) -> GroupVersionKind {
        GroupVersionKind {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
        }
    }

    /// The `apiVersion` of an object of this kind: `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Splits an `apiVersion` into group and version; `None` when it has more than one slash.
    pub fn parse(api_version: &str, kind: &str) -> Option<GroupVersionKind> {
        let (group, version) = match api_version.split_once('/') {
            Some((_, version)) if version.contains('/') => return None,
            Some((group, version)) => (group, version),
            None => ("", api_version),
        };
        Some(GroupVersionKind {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: kind.to_owned().into(),
        })
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, Kind={}", self.api_version(), self.kind)
    }
}

/// Group, version and resource, as a URL carries them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionResource {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// Version inside the group, such as `v1`.
    pub version: Cow<'static, str>,
    /// Plural name, such as `pods`.
    pub resource: Cow<'static, str>,
}

impl GroupVersionResource {
    /// A resource known when the program is built.
    pub const fn constant(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
    ) -> GroupVersionResource {
        GroupVersionResource {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            resource: Cow::Borrowed(resource),
        }
    }

    /// The name error messages use: `pods`, or `statefulsets.apps`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_string()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}
