//! A live picture of a kind: list, then watch, then again from where it broke.
//!
//! The stream never ends and never reports an error: it retries with a bounded, growing pause, resumes from
//! the last revision seen and lists anew when the history does not reach back that far. Consumers feed it
//! into a view's `apply`, `delete` and `reset`.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, unfold};
use model::encoded::{Encoded, Revision};
use model::status::Status;

use crate::transport::{ListOptions, Target, Watch, WatchEvent, WatchEventKind};
use crate::typed::{Client, Scope, Typed, decode, target};

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
    let target = target::<K>(&scope.namespace, "", "");
    reflect_target(client, target, scope.options, decode::<K>)
}

/// The same for any resource, by what `decode` keeps of its objects.
pub fn reflect_target<K: Send + Sync + 'static>(
    client: Client,
    target: Target,
    options: ListOptions,
    decode: Decode<K>,
) -> BoxStream<'static, Change<K>> {
    let reflector = Reflector { client, target, options, decode, state: State::Listing, failures: 0 };
    unfold(reflector, |mut reflector| async move {
        let change = reflector.next().await;
        Some((change, reflector))
    })
    .boxed()
}

/// What is kept of an object.
pub type Decode<K> = fn(&Encoded) -> Result<Arc<K>, Status>;

enum State {
    Listing,
    Resuming(Revision),
    Watching(Watch, Revision),
}

struct Reflector<K> {
    client: Client,
    target: Target,
    options: ListOptions,
    decode: Decode<K>,
    state: State,
    failures: u32,
}

impl<K> Reflector<K> {
    async fn next(&mut self) -> Change<K> {
        loop {
            match std::mem::replace(&mut self.state, State::Listing) {
                State::Listing => match self.list().await {
                    Ok((objects, revision)) => {
                        self.state = State::Resuming(revision);
                        return Change::Reset(objects, revision);
                    }
                    Err(status) => self.pause("list", &status).await,
                },
                State::Resuming(revision) => {
                    let (target, options) = (self.target.clone(), self.options.clone());
                    match self.client.watch_target(target, options, revision).await {
                        Ok(watch) => self.state = State::Watching(watch, revision),
                        Err(status) => self.failed(revision, &status).await,
                    }
                }
                State::Watching(mut watch, revision) => match watch.next().await {
                    Some(Ok(event)) => {
                        self.failures = 0;
                        let revision = event.object.revision().max(revision);
                        self.state = State::Watching(watch, revision);
                        if let Some(change) = self.change_of(&event) {
                            return change;
                        }
                    }
                    Some(Err(status)) => self.failed(revision, &status).await,
                    None => self.state = State::Resuming(revision),
                },
            }
        }
    }

    async fn list(&mut self) -> Result<(Vec<Arc<K>>, Revision), Status> {
        let (objects, revision) = self.client.list_target(self.target.clone(), self.options.clone()).await?;
        let all = objects.iter().map(|object| (self.decode)(object)).collect::<Result<_, _>>()?;
        Ok((all, revision))
    }

    fn change_of(&self, event: &WatchEvent) -> Option<Change<K>> {
        if event.kind == WatchEventKind::Bookmark {
            return None;
        }
        match ((self.decode)(&event.object), event.kind) {
            (Ok(object), WatchEventKind::Deleted) => Some(Change::Delete(object)),
            (Ok(object), _) => Some(Change::Apply(object)),
            (Err(status), _) => {
                tracing::error!(resource = %self.target.resource.resource, "{status}");
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
        tracing::debug!(
            resource = %self.target.resource.resource,
            caller = self.client.caller(),
            pause_ms,
            "{what} failed and will be tried again: {status}"
        );
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}
