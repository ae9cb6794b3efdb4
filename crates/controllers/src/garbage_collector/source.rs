//! Watches one resource whose type nobody knows.
//!
//! Of each object only what the graph needs is decoded, and nothing of it is kept in the shared version:
//! this controller sees every object of the cluster, and must not make each of them larger.

use std::sync::Arc;

use client::transport::{ListOptions, Target};
use client::{Change, Client, reflect_target};
use futures::StreamExt;
use futures::stream::BoxStream;
use model::encoded::{Encoded, Revision};
use model::status::Status;
use serde::Deserialize;

use super::view::Resources;

/// What the graph needs of an object's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The revision that wrote it.
    pub resource_version: String,
    /// When it is to be gone; `None` while nobody asked for that.
    pub deletion_timestamp: Option<String>,
    /// What its deletion waits for.
    pub finalizers: Vec<String>,
    /// Who owns it.
    pub owner_references: Vec<Reference>,
}

/// One owner, as its dependent names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Group and version of its kind.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// True when its foreground deletion waits for the dependent.
    pub block_owner_deletion: bool,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    metadata: Metadata,
}

/// Everything that can happen to a resource; the number is its place in [`Resources`].
#[derive(Debug, Clone)]
pub enum Event {
    /// The whole picture anew.
    Reset(usize, Vec<Metadata>, Revision),
    /// An object is new or different.
    Apply(usize, Metadata, Revision),
    /// An object is gone.
    Delete(usize, Metadata, Revision),
}

/// An object's metadata, without keeping it in the object.
pub fn metadata(object: &Encoded) -> Result<Metadata, Status> {
    let envelope: Envelope = serde_json::from_slice(object.bytes()).map_err(Status::internal)?;
    Ok(envelope.metadata)
}

/// All objects of a collection, with its revision.
pub async fn list(client: &Client, target: Target) -> Result<(Vec<Metadata>, Revision), Status> {
    let (objects, revision) = client.list_target(target, ListOptions::default()).await?;
    let all = objects.iter().map(|object| metadata(object)).collect::<Result<_, _>>()?;
    Ok((all, revision))
}

/// Every change of a resource, beginning with an [`Event::Reset`]. Never ends.
pub fn watch(client: Client, resources: &Resources, index: usize) -> BoxStream<'static, Event> {
    let target = resources.collection(index, "");
    reflect_target(client, target, ListOptions::default(), seen)
        .map(move |change| match change {
            Change::Reset(all, revision) => {
                let all = all.into_iter().map(|one| Arc::unwrap_or_clone(one).metadata).collect();
                Event::Reset(index, all, revision)
            }
            Change::Apply(one) => {
                let Seen { metadata, revision } = Arc::unwrap_or_clone(one);
                Event::Apply(index, metadata, revision)
            }
            Change::Delete(one) => {
                let Seen { metadata, revision } = Arc::unwrap_or_clone(one);
                Event::Delete(index, metadata, revision)
            }
        })
        .boxed()
}

/// What is kept of an object, and the revision it was seen at: that of its deletion, if it is gone.
#[derive(Clone)]
struct Seen {
    metadata: Metadata,
    revision: Revision,
}

fn seen(object: &Encoded) -> Result<Arc<Seen>, Status> {
    Ok(Arc::new(Seen { metadata: metadata(object)?, revision: object.revision() }))
}
