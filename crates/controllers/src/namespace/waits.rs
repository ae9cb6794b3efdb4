//! Waits for what remains in a namespace to go, on watches, outside the controller's executions.
//!
//! One wait a namespace: a new one replaces the old. A wait that ends, for whatever reason, wakes the
//! controller once; it must never decide anything.

use std::collections::HashMap;

use client::Client;
use client::transport::{ListOptions, Target, WatchEventKind};
use futures::StreamExt;
use futures::future::select_all;
use futures::stream::{BoxStream, unfold};
use model::encoded::Revision;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use reconcile::runner::ObjectKey;

/// Requests and wake-ups under way. Each namespace has one of either at a time; a sender waits for room.
const UNDER_WAY_MAX: usize = 256;

/// What to wait for: the first object to go, of any of these collections.
#[derive(Debug)]
pub struct Wait {
    /// The namespace to be woken for.
    pub key: ObjectKey,
    /// Collections, each with the revision at which it was looked at.
    pub collections: Vec<(Target, Revision)>,
}

/// Where to ask for waits.
pub type Waits = mpsc::Sender<Wait>;

/// Does the waiting.
pub struct Waker {
    client: Client,
    requests: mpsc::Receiver<Wait>,
    woken: mpsc::Sender<ObjectKey>,
}

/// A waker, where to ask it, and what it has to tell.
pub fn new(client: Client) -> (Waits, Waker, BoxStream<'static, ObjectKey>) {
    let (waits, requests) = mpsc::channel(UNDER_WAY_MAX);
    let (woken, wakes) = mpsc::channel(UNDER_WAY_MAX);
    let stream = unfold(wakes, |mut wakes| async move { wakes.recv().await.map(|key| (key, wakes)) });
    (waits, Waker { client, requests, woken }, stream.boxed())
}

impl Waker {
    /// Waits until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut waiting: JoinSet<ObjectKey> = JoinSet::new();
        let mut handles: HashMap<ObjectKey, AbortHandle> = HashMap::new();
        loop {
            let key = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(wait) = self.requests.recv() => {
                    let key = wait.key.clone();
                    let handle = waiting.spawn(until_something_goes(self.client.clone(), wait));
                    if let Some(replaced) = handles.insert(key, handle) {
                        replaced.abort();
                    }
                    continue;
                }
                Some(finished) = waiting.join_next() => match finished {
                    Ok(key) => key,
                    // It was replaced.
                    Err(_) => continue,
                },
            };
            handles.remove(&key);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                sent = self.woken.send(key) => if sent.is_err() { return },
            }
        }
    }
}

async fn until_something_goes(client: Client, wait: Wait) -> ObjectKey {
    let gone = wait.collections.into_iter().map(|(target, revision)| {
        let client = client.clone();
        Box::pin(async move {
            let watch = client.watch_target(target, ListOptions::default(), revision).await;
            // A watch that cannot be had, or breaks, is as good a reason to look again, a little later:
            // the controller's own pause sees to that.
            let Ok(mut watch) = watch else { return std::future::pending().await };
            while let Some(Ok(event)) = watch.next().await {
                if event.kind == WatchEventKind::Deleted {
                    return;
                }
            }
            std::future::pending().await
        })
    });
    let gone: Vec<_> = gone.collect();
    if gone.is_empty() {
        return wait.key;
    }
    select_all(gone).await;
    wait.key
}
