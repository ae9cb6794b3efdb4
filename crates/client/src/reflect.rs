//! A live picture of a kind: list, then watch, then again from where it broke.
//!
//! The stream never ends and never reports an error: it retries with a bounded, growing pause, resumes from
//! the last revision seen and lists anew when the history does not reach back that far. Consumers feed it
//! into a view's `apply`, `delete` and `reset`.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use model::encoded::{Encoded, Revision};
use model::status::Status;

use crate::transport::{Watch, WatchEvent, WatchEventKind};
use crate::typed::{Client, Scope, Typed};

/// Pause after the first failure; it doubles with each further one.
const RETRY_PAUSE_MS_MIN: u64 = 50;
/// Longest pause between two tries: a restarted API server is found again within five seconds.
const RETRY_PAUSE_MS_MAX: u64 = 5_000;

/// One change of the picture.
#[derive(Debug, Clone)]
pub enum Change<K> {
    /// The whole picture anew, at a revision: whatever is not in it is gone. The first change is always one.
    Reset(Vec<Arc<K>>, Revision),
    /// An object is new or different.
    Apply(Arc<K>),
    /// An object is gone; this was its last state.
    Delete(Arc<K>),
}

/// Every change of the objects in `scope`, beginning with a [`Change::Reset`].
pub fn reflect<K: Typed>(client: Client, scope: Scope) -> BoxStream<'static, Change<K>> {
    let reflector = Reflector::<K> { client, scope, state: State::Listing, failures: 0, kind: PhantomData };
    unfold(reflector, |mut reflector| async move {
        let change = reflector.next().await;
        Some((change, reflector))
    })
    .boxed()
}

enum State {
    Listing,
    Resuming(Revision),
    Watching(Watch, Revision),
}

struct Reflector<K> {
    client: Client,
    scope: Scope,
    state: State,
    failures: u32,
    kind: PhantomData<fn() -> K>,
}

impl<K: Typed> Reflector<K> {
    async fn next(&mut self) -> Change<K> {
        loop {
            match std::mem::replace(&mut self.state, State::Listing) {
                State::Listing => match self.client.list::<K>(&self.scope).await {
                    Ok((objects, revision)) => {
                        self.state = State::Resuming(revision);
                        return Change::Reset(objects, revision);
                    }
                    Err(status) => self.pause("list", &status).await,
                },
                State::Resuming(revision) => match self.client.watch::<K>(&self.scope, revision).await {
                    Ok(watch) => self.state = State::Watching(watch, revision),
                    Err(status) => self.failed(revision, &status).await,
                },
                State::Watching(mut watch, revision) => match watch.next().await {
                    Some(Ok(event)) => {
                        self.failures = 0;
                        let revision = event.object.revision().max(revision);
                        self.state = State::Watching(watch, revision);
                        if let Some(change) = change_of(&event) {
                            return change;
                        }
                    }
                    Some(Err(status)) => self.failed(revision, &status).await,
                    None => self.state = State::Resuming(revision),
                },
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
        tracing::debug!(
            resource = K::URL_PATH_SEGMENT,
            caller = self.client.caller(),
            pause_ms,
            "{what} failed and will be tried again: {status}"
        );
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

fn change_of<K: Typed>(event: &WatchEvent) -> Option<Change<K>> {
    let typed = decode::<K>(&event.object)?;
    match event.kind {
        WatchEventKind::Added | WatchEventKind::Modified => Some(Change::Apply(typed)),
        WatchEventKind::Deleted => Some(Change::Delete(typed)),
        WatchEventKind::Bookmark => None,
    }
}

fn decode<K: Typed>(object: &Encoded) -> Option<Arc<K>> {
    match object.decode::<K>() {
        Ok(typed) => Some(typed),
        Err(error) => {
            tracing::error!(resource = K::URL_PATH_SEGMENT, "{error}: {}", error.source);
            None
        }
    }
}
