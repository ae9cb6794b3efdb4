//! What a descriptor says about its kind.
//!
//! Pure: a descriptor turns values into values. It must never read a clock, the store or another object;
//! what needs those is admission.

use jiff::Timestamp;
use model::field::ErrorList;
use model::resource::{GroupVersionKind, GroupVersionResource};
use serde_json::Value;

/// Everything that is peculiar to one kind.
pub struct Kind {
    /// Its name inside objects.
    pub gvk: GroupVersionKind,
    /// Its name in URLs.
    pub gvr: GroupVersionResource,
    /// Its name for one, in lower case: `statefulset`.
    pub singular: &'static str,
    /// Names people type: `sts`.
    pub short_names: &'static [&'static str],
    /// Groups of kinds people type: `all`.
    pub categories: &'static [&'static str],
    /// Lives in namespaces.
    pub namespaced: bool,
    /// Beginning of its keys, without a slash at the end: `/registry/statefulsets`. A few differ from the
    /// plural for upstream's reasons (`/registry/services/specs`, `/registry/minions`).
    pub key_prefix: &'static str,
    /// Name of its definition in the OpenAPI documents: `io.k8s.api.apps.v1.StatefulSet`.
    pub definition: &'static str,
    /// Its subresources.
    pub subresources: &'static [Subresource],
    /// What happens to what it owns when a deletion does not say: true keeps them (upstream's default of
    /// a few old kinds), false deletes them after it.
    pub orphans_by_default: bool,
    /// Deleting it first sets a deletion time and waits for somebody (the node) to confirm.
    pub deleted_gracefully: bool,
    /// An update without a resourceVersion is refused.
    pub update_needs_resource_version: bool,
    /// A PUT to a name that is not there makes the object.
    pub create_on_update: bool,
    /// Objects go away by themselves after so many seconds; `None` keeps them.
    pub ttl_seconds: Option<u32>,
    /// How names are checked.
    pub name_rule: NameRule,
    /// Columns of its table.
    pub columns: &'static [Column],
    /// What its fields mean.
    pub strategy: &'static dyn Strategy,
}

/// Which names are valid for objects of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 bytes.
    Subdomain,
    /// RFC 1123 label, up to 63 bytes.
    Label,
    /// RFC 1035 label: begins with a letter.
    Label1035,
    /// Anything that fits into one segment of a path (RBAC names).
    PathSegment,
}

/// A part of an object, or an action on it, with a URL of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// The object with only its status open to change.
    Status,
    /// `autoscaling/v1` `Scale`.
    Scale,
    /// `pods/binding`.
    Binding,
    /// `pods/eviction`, `policy/v1` `Eviction`.
    Eviction,
    /// `pods/log`.
    Log,
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `namespaces/finalize`.
    Finalize,
}

impl Subresource {
    /// Its name in URLs.
    pub fn name(self) -> &'static str {
        match self {
            Subresource::Status => "status",
            Subresource::Scale => "scale",
            Subresource::Binding => "binding",
            Subresource::Eviction => "eviction",
            Subresource::Log => "log",
            Subresource::Exec => "exec",
            Subresource::Attach => "attach",
            Subresource::Finalize => "finalize",
        }
    }
}

impl Kind {
    /// True when objects of the kind have the subresource of this name; the empty name is the object itself.
    pub fn has_subresource(&self, name: &str) -> bool {
        name.is_empty() || self.subresources.iter().any(|subresource| subresource.name() == name)
    }
}

/// One column of the table that `kubectl get` prints.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// JSON type of its cells: `string`, `integer`, `date`, `boolean`.
    pub cell_type: &'static str,
    /// Format of its cells: `name` for the first column, mostly empty.
    pub format: &'static str,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: u8,
    /// What it means.
    pub description: &'static str,
}

/// What the fields of a kind mean. The generic path has already checked types against the kind's schema,
/// dropped unknown fields and checked `metadata`, so that decoding a value into the kind's type succeeds.
pub trait Strategy: Send + Sync {
    /// Fills in what was left out. Idempotent; runs on every write, after decoding and after a patch.
    fn default(&self, object: &mut Value);

    /// Readies a new object: clears what clients may not set (status).
    fn prepare_create(&self, object: &mut Value) {
        clear_status(object);
    }

    /// Readies an update through the main resource: keeps what clients may not change there (status).
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    /// Readies an update through `/status`: keeps everything but the status and metadata that may change.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    /// True when this update makes a new `metadata.generation`. Only asked where the kind has one.
    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        new.get("spec") != old.get("spec")
    }

    /// True for kinds whose objects carry `metadata.generation`.
    fn has_generation(&self) -> bool {
        false
    }

    /// True for a question: a create stores nothing and answers with the status filled in, and there is no
    /// other verb.
    fn is_review(&self) -> bool {
        false
    }

    /// What is wrong with a new object.
    fn validate_create(&self, object: &Value) -> ErrorList;

    /// What is wrong with an update through the main resource.
    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList;

    /// What is wrong with an update through `/status`.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }

    /// Warnings (HTTP header `Warning: 299`) about an object that is accepted.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// The cells of an object's row, one for each of the kind's columns.
    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value>;

    /// Fields beside `metadata.name` and `metadata.namespace` that field selectors may name, with the
    /// object's values.
    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Names of all the fields that [`Strategy::selectable_fields`] gives.
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Grace period of a graceful deletion when the request names none; only asked where
    /// [`Kind::deleted_gracefully`] is set. 0 removes the object at once.
    fn grace_period_seconds(&self, _object: &Value) -> i64 {
        0
    }
}

fn clear_status(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => new.insert(field.to_owned(), value.clone()),
        None => new.remove(field),
    };
}
