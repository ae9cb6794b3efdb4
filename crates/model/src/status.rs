//! `metav1.Status`: every error that a client of the API sees.
//!
//! A status is a value, made where the refusal happens, with the words clients match on. It is never
//! assembled from another error's text by whoever passes it on.

use std::fmt;

use serde_json::{Value, json};

use crate::field::{self, ErrorList};
use crate::resource::{GroupVersionKind, GroupVersionResource};

/// `metav1.StatusReason`, with the HTTP code that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are upstream's own and say it all")]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    InsufficientStorage,
}

impl Reason {
    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::BadRequest => 400,
            Reason::Unknown | Reason::InternalError => 500,
            Reason::ServiceUnavailable => 503,
            Reason::ServerTimeout | Reason::Timeout => 504,
            Reason::InsufficientStorage => 507,
        }
    }

    /// The text in `status.reason`; empty for [`Reason::Unknown`].
    pub fn text(self) -> &'static str {
        match self {
            Reason::Unknown => "",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Gone => "Gone",
            Reason::Invalid => "Invalid",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::Timeout => "Timeout",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::BadRequest => "BadRequest",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::InternalError => "InternalError",
            Reason::Expired => "Expired",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::InsufficientStorage => "InsufficientStorage",
        }
    }
}

/// One cause inside a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `metav1.CauseType`, such as `FieldValueInvalid`.
    pub reason: String,
    /// What is wrong, for people.
    pub message: String,
    /// The field, where there is one.
    pub field: String,
}

/// What the refusal is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// Its API group.
    pub group: String,
    /// Its resource, or its kind for validation errors: upstream is not consistent here and clients know.
    pub kind: String,
    /// Its uid, where known.
    pub uid: String,
    /// The single causes.
    pub causes: Vec<Cause>,
    /// Seconds after which trying again makes sense; 0 for none.
    pub retry_after_seconds: u32,
}

/// A refusal, as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Why, for programs. It fixes the HTTP code.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// About what.
    pub details: Details,
    /// The HTTP code where it differs from the reason's own.
    pub code_override: Option<u16>,
    /// With an expired list: the token that goes on inconsistently. Mostly empty.
    pub continue_token: String,
}

impl Status {
    /// A refusal without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Status {
        Status {
            reason,
            message: message.into(),
            details: Details::default(),
            code_override: None,
            continue_token: String::new(),
        }
    }

    fn about(reason: Reason, resource: &GroupVersionResource, name: &str, message: String) -> Status {
        let mut status = Status::new(reason, message);
        status.details.name = name.to_owned();
        status.details.group = resource.group.to_string();
        status.details.kind = resource.resource.to_string();
        status
    }

    /// 404 for an object.
    pub fn not_found(resource: &GroupVersionResource, name: &str) -> Status {
        let message = format!("{} {name:?} not found", resource.qualified());
        Status::about(Reason::NotFound, resource, name, message)
    }

    /// 404 for a path that no resource is served at.
    pub fn no_such_path() -> Status {
        Status::new(Reason::NotFound, "the server could not find the requested resource")
    }

    /// 409 on create.
    pub fn already_exists(resource: &GroupVersionResource, name: &str) -> Status {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Status::about(Reason::AlreadyExists, resource, name, message)
    }

    /// 409 on update: `detail` says what did not match.
    pub fn conflict(resource: &GroupVersionResource, name: &str, detail: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {detail}", resource.qualified());
        Status::about(Reason::Conflict, resource, name, message)
    }

    /// 409 on update with an outdated `resourceVersion`, in the words clients retry on.
    pub fn modified(resource: &GroupVersionResource, name: &str) -> Status {
        let detail = "the object has been modified; please apply your changes to the latest version \
                      and try again";
        Status::conflict(resource, name, detail)
    }

    /// 403: `detail` says why.
    pub fn forbidden(resource: &GroupVersionResource, name: &str, detail: &str) -> Status {
        let message = if name.is_empty() {
            format!("{} is forbidden: {detail}", resource.qualified())
        } else {
            format!("{} {name:?} is forbidden: {detail}", resource.qualified())
        };
        Status::about(Reason::Forbidden, resource, name, message)
    }

    /// 422 with every field error found. `errors` must not be empty.
    pub fn invalid(kind: &GroupVersionKind, name: &str, errors: &ErrorList) -> Status {
        assert!(!errors.is_empty(), "an invalid object has at least one error");
        let texts: Vec<String> = errors.iter().map(field::Error::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if kind.group.is_empty() {
            kind.kind.to_string()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let mut status = Status::new(Reason::Invalid, format!("{qualified} {name:?} is invalid: {list}"));
        status.details.name = name.to_owned();
        status.details.group = kind.group.to_string();
        status.details.kind = kind.kind.to_string();
        status.details.causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.error_type.cause().to_owned(),
                message: error.body(),
                field: error.path.to_string(),
            })
            .collect();
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(Reason::BadRequest, message)
    }

    /// 405 for a verb that the resource does not have.
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::new(Reason::MethodNotAllowed, message)
    }

    /// 410: the revision asked for is no longer, or not yet, in the history.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(Reason::Expired, message)
    }

    /// 500. The text reaches the client: it must hold no secret.
    pub fn internal(message: impl fmt::Display) -> Status {
        Status::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.code_override.unwrap_or_else(|| self.reason.code())
    }

    /// True for a conflict on write, after which reading again and retrying makes sense.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// True when the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// True when the object is there already.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    /// True when a list has to be read anew.
    pub fn is_expired(&self) -> bool {
        matches!(self.reason, Reason::Expired | Reason::Gone)
    }

    /// The JSON a client gets.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code(),
        });
        if !self.continue_token.is_empty() {
            value["metadata"]["continue"] = self.continue_token.as_str().into();
        }
        if !self.reason.text().is_empty() {
            value["reason"] = self.reason.text().into();
        }
        let details = self.details.to_value();
        // Clients look into the details of a 404 without asking whether there are any.
        let wanted = self.reason == Reason::NotFound;
        if wanted || details.as_object().is_some_and(|details| !details.is_empty()) {
            value["details"] = details;
        }
        value
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut value = serde_json::Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                value.insert(key.to_owned(), text.as_str().into());
            }
        }
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self.causes.iter().map(Cause::to_value).collect();
            value.insert("causes".to_owned(), causes.into());
        }
        if self.retry_after_seconds > 0 {
            value.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(value)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = json!({ "reason": self.reason, "message": self.message });
        if !self.field.is_empty() {
            value["field"] = self.field.as_str().into();
        }
        value
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_found_reads_as_upstream_writes_it() {
        let resource = GroupVersionResource::constant("apps", "v1", "statefulsets");
        let status = Status::not_found(&resource, "web");
        assert_eq!(status.message, "statefulsets.apps \"web\" not found");
        assert_eq!(status.to_value()["code"], 404);
        assert_eq!(status.to_value()["details"]["kind"], "statefulsets");
    }

    #[test]
    fn invalid_lists_every_cause() {
        let kind = GroupVersionKind::constant("apps", "v1", "StatefulSet");
        let errors = vec![
            field::Error::required(&field::Path::new("spec.selector"), ""),
            field::Error::forbidden(&field::Path::new("spec"), "no"),
        ];
        let status = Status::invalid(&kind, "web", &errors);
        assert_eq!(
            status.message,
            "StatefulSet.apps \"web\" is invalid: [spec.selector: Required value, spec: Forbidden: no]"
        );
        assert_eq!(status.details.causes.len(), 2);
    }
}
