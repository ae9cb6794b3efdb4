//! Watches one resource whose type nobody knows: list, watch, and again from where it broke.
//!
//! Of each object only what the graph needs is decoded, and nothing of it is kept in the shared version:
//! this controller sees every object of the cluster, and must not make each of them larger.

use std::sync::Arc;
use std::time::Duration;

use client::transport::{ListOptions, Reply, Target, Verb, Watch, WatchEvent, WatchEventKind};
use client::{Body, Client};
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use model::encoded::{Encoded, Revision};
use model::status::Status;
use serde::Deserialize;

use super::view::Resources;

/// Pause after the first failure; it doubles with each further one.
const RETRY_PAUSE_MS_MIN: u64 = 50;
/// Longest pause between two tries: a restarted API server is found again within five seconds.
const RETRY_PAUSE_MS_MAX: u64 = 5_000;

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
    match client.call(Verb::List, target, Body::Empty).await? {
        Reply::List(objects, revision) => {
            let all = objects.iter().map(|object| metadata(object)).collect::<Result<_, _>>()?;
            Ok((all, revision))
        }
        Reply::Object(_) | Reply::Done => Err(Status::internal("a list was answered by no list")),
    }
}

/// Every change of a resource, beginning with an [`Event::Reset`]. Never ends.
pub fn watch(client: Client, resources: Arc<Resources>, index: usize) -> BoxStream<'static, Event> {
    let target = resources.collection(index, "");
    let source = Source { client, index, target, state: State::Listing, failures: 0 };
    unfold(source, |mut source| async move {
        let event = source.next().await;
        Some((event, source))
    })
    .boxed()
}

enum State {
    Listing,
    Resuming(Revision),
    Watching(Watch, Revision),
}

struct Source {
    client: Client,
    index: usize,
    target: Target,
    state: State,
    failures: u32,
}

impl Source {
    async fn next(&mut self) -> Event {
        loop {
            match std::mem::replace(&mut self.state, State::Listing) {
                State::Listing => match list(&self.client, self.target.clone()).await {
                    Ok((objects, revision)) => {
                        self.state = State::Resuming(revision);
                        return Event::Reset(self.index, objects, revision);
                    }
                    Err(status) => self.pause("list", &status).await,
                },
                State::Resuming(revision) => {
                    let options = ListOptions::default();
                    match self.client.watch_target(self.target.clone(), options, revision).await {
                        Ok(watch) => self.state = State::Watching(watch, revision),
                        Err(status) => self.failed(revision, &status).await,
                    }
                }
                State::Watching(mut watch, revision) => match watch.next().await {
                    Some(Ok(event)) => {
                        self.failures = 0;
                        let revision = event.object.revision().max(revision);
                        self.state = State::Watching(watch, revision);
                        if let Some(event) = self.event_of(&event) {
                            return event;
                        }
                    }
                    Some(Err(status)) => self.failed(revision, &status).await,
                    None => self.state = State::Resuming(revision),
                },
            }
        }
    }

    fn event_of(&self, event: &WatchEvent) -> Option<Event> {
        if event.kind == WatchEventKind::Bookmark {
            return None;
        }
        let revision = event.object.revision();
        match metadata(&event.object) {
            Ok(metadata) if event.kind == WatchEventKind::Deleted => {
                Some(Event::Delete(self.index, metadata, revision))
            }
            Ok(metadata) => Some(Event::Apply(self.index, metadata, revision)),
            Err(status) => {
                tracing::error!(resource = %self.target.resource.resource, "decode an object: {status}");
                None
            }
        }
    }

    /// Resumes from `revision`, or lists anew when the history does not reach back that far.
    async fn failed(&mut self, revision: Revision, status: &Status) {
        if status.is_expired() {
            self.state = State::Listing;
        } else {
            self.state = State::Resuming(revision);
            self.pause("watch", status).await;
        }
    }

    async fn pause(&mut self, what: &str, status: &Status) {
        let pause_ms = RETRY_PAUSE_MS_MIN.saturating_mul(1 << self.failures.min(16)).min(RETRY_PAUSE_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        let resource = &self.target.resource.resource;
        tracing::debug!(%resource, pause_ms, "{what} failed and will be tried again: {status}");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}
