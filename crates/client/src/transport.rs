//! The one way to the API: a call and its reply, as values.
//!
//! An implementation carries calls; it must not change them, retry them or look into objects.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use model::encoded::{Encoded, Revision};
use model::resource::GroupVersionResource;
use model::status::Status;
use serde_json::Value;

/// What a call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the API's own verbs")]
pub enum Verb {
    Get,
    List,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// Which object, or which collection.
#[derive(Debug, Clone)]
pub struct Target {
    /// The resource.
    pub resource: GroupVersionResource,
    /// The namespace; empty for cluster-scoped resources and for collections over all namespaces.
    pub namespace: String,
    /// The object's name; empty for a collection and for a create.
    pub name: String,
    /// Subresource such as `status`, `scale`, `binding`, `eviction`; empty for the object itself.
    pub subresource: &'static str,
}

/// The three patches of a built-in kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, which merges lists by key.
    StrategicMerge,
}

/// What must be true of an object for a deletion to go through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The uid it must have.
    pub uid: Option<String>,
    /// The revision it must have.
    pub resource_version: Option<String>,
}

/// What becomes of the objects that an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
    Foreground,
    /// They lose their owner and stay.
    Orphan,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds a pod gets to end by itself; `None` for its own setting, 0 for at once.
    pub grace_period_seconds: Option<i64>,
    /// `None` for the kind's default.
    pub propagation: Option<Propagation>,
    /// Checked before anything happens.
    pub precondition: Precondition,
}

/// Which objects of a collection.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Label selector in its text form; empty for all.
    pub label_selector: String,
    /// Field selector in its text form; empty for all.
    pub field_selector: String,
}

/// The body of a call.
#[derive(Debug, Clone)]
pub enum Body {
    /// None.
    Empty,
    /// An object, for create and update.
    Object(Value),
    /// A patch.
    Patch(PatchKind, Value),
    /// Options of a deletion.
    Delete(DeleteOptions),
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// What.
    pub verb: Verb,
    /// Of which object.
    pub target: Target,
    /// Which objects, for list and deletecollection.
    pub list: ListOptions,
    /// With which body.
    pub body: Body,
    /// Who calls, such as `statefulset-controller`: it becomes the field manager and the user
    /// `system:serviceaccount:kube-system:<name>`.
    pub caller: &'static str,
}

/// The answer to a call that went through.
#[derive(Debug, Clone)]
pub enum Reply {
    /// The object, as it is after the call.
    Object(Arc<Encoded>),
    /// The collection and the revision it shows.
    List(Vec<Arc<Encoded>>, Revision),
    /// Done; there is no object to show (binding, eviction, a deletion that is over).
    Done,
}

/// What a watch saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEventKind {
    /// New, or newly matching the selector.
    Added,
    /// Changed.
    Modified,
    /// Gone, or no longer matching the selector.
    Deleted,
    /// Nothing but the revision moved.
    Bookmark,
}

/// One event of a watch.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// What happened.
    pub kind: WatchEventKind,
    /// The object after it; for a deletion its last state. A bookmark carries only metadata.
    pub object: Arc<Encoded>,
}

/// A running watch. It ends after an `Err`, or when the other side closes it; both mean: list again, or
/// resume from the last revision seen.
pub type Watch = BoxStream<'static, Result<WatchEvent, Status>>;

/// Carries calls to an API server.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// One call and its answer.
    async fn call(&self, call: Call) -> Result<Reply, Status>;

    /// Every change of a collection after `after`.
    async fn watch(
        &self,
        target: Target,
        options: ListOptions,
        after: Revision,
        caller: &'static str,
    ) -> Result<Watch, Status>;
}
