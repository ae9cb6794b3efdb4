//! May this user do that?
//!
//! The place for RBAC, which is yet to come. It must answer from what it is given and never change a request.

use crate::request::User;

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// What is about to be done.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, …, in the API's words.
    pub verb: &'a str,
    /// Group of the resource; empty for the core group and for paths.
    pub group: &'a str,
    /// The resource, with its subresource after a slash; empty for paths.
    pub resource: &'a str,
    /// The namespace, where there is one.
    pub namespace: &'a str,
    /// The name, where there is one.
    pub name: &'a str,
    /// The path, for what is no resource.
    pub path: &'a str,
}

/// Decides about requests.
pub trait Authorizer: Send + Sync {
    /// True when `user` may.
    fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool;
}

/// Lets members of `system:masters` do everything and nobody else anything.
#[derive(Debug, Clone, Copy)]
pub struct AllowMasters;

impl Authorizer for AllowMasters {
    fn allows(&self, user: &User, _attributes: &Attributes<'_>) -> bool {
        user.groups.iter().any(|group| group == MASTERS)
    }
}

/// The refusal, in the words upstream uses.
pub(crate) fn refusal(user: &User, attributes: &Attributes<'_>) -> model::status::Status {
    use model::status::{Reason, Status};
    let user = &user.name;
    let Attributes { verb, group, resource, namespace, name, path } = attributes;
    if resource.is_empty() {
        return Status::new(
            Reason::Forbidden,
            format!("forbidden: User {user:?} cannot {verb} path {path:?}"),
        );
    }
    let base = resource.split('/').next().unwrap_or(resource);
    let qualified = if group.is_empty() { base.to_owned() } else { format!("{base}.{group}") };
    let object = if name.is_empty() { qualified } else { format!("{qualified} {name:?}") };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {namespace:?}")
    };
    let message = format!(
        "{object} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}"
    );
    let mut status = Status::new(Reason::Forbidden, message);
    status.details.name = (*name).to_owned();
    status.details.group = (*group).to_owned();
    status.details.kind = base.to_owned();
    status
}
