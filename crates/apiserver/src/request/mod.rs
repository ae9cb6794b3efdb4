//! A request as values: who asks, about what, with which options.
//!
//! HTTP and the in-process transport both end here; from here on nothing knows which of them it was.
//! Read next: [`path`] and [`query`] (how HTTP gets here), [`crate::pipeline`] (where it goes).

pub(crate) mod path;
pub(crate) mod query;

use std::sync::{Mutex, PoisonError};

use model::encoded::Revision;
use serde_json::Value;

use crate::kind::Kind;

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User name.
    pub name: String,
    /// Groups the user is in.
    pub groups: Vec<String>,
}

impl User {
    /// A component of this very process.
    pub(crate) fn component(caller: &str) -> User {
        User {
            name: format!("system:serviceaccount:kube-system:{caller}"),
            groups: vec![crate::authz::MASTERS.to_owned(), "system:authenticated".to_owned()],
        }
    }
}

/// What accompanies a request through the pipeline.
#[derive(Debug, Default)]
pub struct Context {
    /// Who asks.
    pub user: User,
    warnings: Mutex<Vec<String>>,
}

impl Context {
    /// The context of a request by `user`.
    pub fn new(user: User) -> Context {
        Context { user, warnings: Mutex::default() }
    }

    /// Adds a warning to the answer, once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The warnings so far.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One object, or a collection when the name is empty.
#[derive(Clone)]
pub struct Address {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; empty for cluster-scoped kinds and for collections over all namespaces.
    pub namespace: String,
    /// Its name; empty for a collection.
    pub name: String,
}

impl Address {
    /// The address of an object.
    pub fn new(kind: &'static Kind, namespace: &str, name: &str) -> Address {
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        Address { kind, namespace, name: name.to_owned() }
    }

    /// The key of the object.
    pub fn key(&self) -> String {
        format!("{}{}", self.prefix(), self.name)
    }

    /// What the keys of the collection that the object is in begin with.
    pub fn prefix(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/", self.kind.key_prefix)
        } else {
            format!("{}/{}/", self.kind.key_prefix, self.namespace)
        }
    }
}

/// What to do about fields that the kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of every write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Do everything but the write.
    pub dry_run: bool,
    /// What to do about unknown and duplicate fields.
    pub field_validation: FieldValidation,
    /// In whose name fields are set.
    pub field_manager: String,
    /// Take the namespace of the object as there, if it is not. Only where nothing is written.
    pub assumes_namespace: bool,
}

/// A decoded body.
#[derive(Debug, Clone)]
pub struct Input {
    /// The tree.
    pub value: Value,
    /// Fields that stood in it twice.
    pub duplicate_fields: Vec<String>,
}

impl From<Value> for Input {
    fn from(value: Value) -> Input {
        Input { value, duplicate_fields: Vec::new() }
    }
}

/// How a list's revision is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Match {
    /// Any that is at least as new.
    #[default]
    NotOlderThan,
    /// Exactly this one.
    Exact,
}

/// Which objects of a collection, as of when, how many.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Label selector, in text.
    pub label_selector: String,
    /// Field selector, in text.
    pub field_selector: String,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// Where an earlier page ended.
    pub continue_token: String,
    /// As of when; `None` for now.
    pub revision: Option<Revision>,
    /// How `revision` is meant.
    pub revision_match: Match,
}

/// What to watch, from when, for how long.
#[derive(Debug, Clone, Default)]
pub struct WatchQuery {
    /// Label selector, in text.
    pub label_selector: String,
    /// Field selector, in text.
    pub field_selector: String,
    /// Everything after this; `None` or zero begins with what there is now.
    pub after: Option<Revision>,
    /// Send what there is first, then a bookmark that says so.
    pub send_initial_events: bool,
    /// Send a bookmark now and then.
    pub bookmarks: bool,
    /// End after so many seconds.
    pub timeout_seconds: Option<u64>,
}

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub struct DeleteRequest {
    /// What must be true first, and how.
    pub options: client::DeleteOptions,
    /// Do everything but the write.
    pub dry_run: bool,
}
