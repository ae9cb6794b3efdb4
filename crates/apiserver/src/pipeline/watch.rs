//! Watch: every change of a collection, as this client's selection sees it.
//!
//! One stream for HTTP and for the process itself. A client that reads too slowly is cut off by the store
//! (its queue is bounded) and must resume; it never holds a writer up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::transport::{WatchEvent, WatchEventKind};
use futures::{FutureExt, Stream};
use model::encoded::{Encoded, Revision};
use model::status::Status;
use store::{Event, EventKind, Range, ReadError, Store, WatchError, Watcher};
use tokio::time::Instant;

use super::read::too_large;
use super::selection::Selection;
use crate::api::Api;
use crate::codec;
use crate::kind::Kind;
use crate::request::{Address, WatchQuery};

/// How often a client that asked for bookmarks gets one; upstream's interval.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before the end of a watch with a timeout the last bookmark is sent.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Marks the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

impl Api {
    /// Every change after `after`.
    pub(crate) fn watch_live(
        &self,
        collection: &Address,
        query: &WatchQuery,
        after: Revision,
    ) -> Result<impl Stream<Item = Result<WatchEvent, Status>> + Send + use<>, Status> {
        let (selection, prefix) = self.watched(collection, query)?;
        let watcher = self.store.watch(&prefix, after).map_err(|error| unwatchable(&error))?;
        Ok(self.stream(collection.kind, selection, watcher, Vec::new(), query, after))
    }

    /// A watch as clients ask for it: perhaps with what there is first.
    pub(crate) fn watch(
        &self,
        collection: &Address,
        query: &WatchQuery,
    ) -> Result<impl Stream<Item = Result<WatchEvent, Status>> + Send + use<>, Status> {
        let (selection, prefix) = self.watched(collection, query)?;
        let after = query.after.filter(|after| after.0 > 0);
        if let (Some(after), false) = (after, query.send_initial_events) {
            let watcher = self.store.watch(&prefix, after).map_err(|error| unwatchable(&error))?;
            return Ok(self.stream(collection.kind, selection, watcher, Vec::new(), query, after));
        }
        let range = Range { prefix: prefix.clone(), ..Range::default() };
        let page = self.store.range(&range).map_err(|error| unwatchable(&error))?;
        let watcher = self.store.watch(&prefix, page.revision).map_err(|error| unwatchable(&error))?;
        let mut initial = Vec::with_capacity(page.entries.len());
        for entry in &page.entries {
            let object = codec::present(collection.kind, &entry.object)?;
            if selection.has(&object)? {
                initial.push(object);
            }
        }
        Ok(self.stream(collection.kind, selection, watcher, initial, query, page.revision))
    }

    /// The selection, and the beginning of every key it can have.
    fn watched(&self, collection: &Address, query: &WatchQuery) -> Result<(Selection, String), Status> {
        let selection = Selection::parse(collection.kind, &query.label_selector, &query.field_selector)?;
        let mut prefix = collection.prefix();
        if let Some(name) = selection.only_name()
            && (!collection.kind.namespaced || !collection.namespace.is_empty())
        {
            prefix.push_str(name);
        }
        Ok((selection, prefix))
    }

    fn stream(
        &self,
        kind: &'static Kind,
        selection: Selection,
        watcher: Watcher,
        initial: Vec<Arc<Encoded>>,
        query: &WatchQuery,
        from: Revision,
    ) -> impl Stream<Item = Result<WatchEvent, Status>> + Send + use<> {
        let now = Instant::now();
        let end = query.timeout_seconds.map(|seconds| now + Duration::from_secs(seconds));
        let live = Live {
            kind,
            selection,
            watcher,
            store: Arc::clone(&self.store),
            initial: initial.into(),
            initial_end: query.send_initial_events.then_some(from),
            end,
            bookmark_at: query.bookmarks.then(|| next_bookmark(now, end)),
            due: None,
            held: None,
            delivered: Revision::default(),
            over: false,
        };
        futures::stream::unfold(live, |mut live| async move {
            let item = live.next().await?;
            live.over = item.is_err();
            Some((item, live))
        })
    }
}

/// What a watch waited for.
enum Waited {
    Event(Result<Event, WatchError>),
    /// Everything up to this revision was delivered.
    Bookmark(Revision),
    /// Its time is over.
    End,
}

struct Live {
    kind: &'static Kind,
    selection: Selection,
    watcher: Watcher,
    store: Arc<dyn Store>,
    initial: VecDeque<Arc<Encoded>>,
    initial_end: Option<Revision>,
    end: Option<Instant>,
    bookmark_at: Option<Instant>,
    /// A bookmark that waits until every event up to its revision is delivered.
    due: Option<Revision>,
    /// An event behind that bookmark.
    held: Option<Event>,
    /// The newest event's revision. The store's may be behind it: that is raised after the event is queued.
    delivered: Revision,
    over: bool,
}

impl Live {
    async fn next(&mut self) -> Option<Result<WatchEvent, Status>> {
        if self.over {
            return None;
        }
        if let Some(object) = self.initial.pop_front() {
            return Some(Ok(WatchEvent { kind: WatchEventKind::Added, object }));
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(Ok(bookmark(self.kind, revision, true)));
        }
        loop {
            let event = match self.held.take() {
                Some(event) => Ok(event),
                None => match self.wait().await {
                    Waited::Event(event) => event,
                    Waited::Bookmark(revision) => return Some(Ok(bookmark(self.kind, revision, false))),
                    Waited::End => return None,
                },
            };
            if let Some(due) = self.due
                && let Ok(event) = &event
                && event.revision() > due
            {
                self.due = None;
                self.held = Some(event.clone());
                return Some(Ok(bookmark(self.kind, due, false)));
            }
            if let Ok(event) = &event {
                self.delivered = event.revision().max(self.delivered);
            }
            match event.map_err(|error| ended(&error)).and_then(|event| self.translate(&event)) {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(status) => return Some(Err(status)),
            }
        }
    }

    /// The next thing that happens. A bookmark that is due waits until the queue is empty: it must not claim
    /// a revision before the events up to it. The store raises its revision after it has queued the events.
    async fn wait(&mut self) -> Waited {
        loop {
            if let Some(due) = self.due {
                // Outside the scheduler's budget, which may call a full queue empty.
                match tokio::task::unconstrained(self.watcher.next()).now_or_never() {
                    Some(event) => return Waited::Event(event),
                    None => {
                        self.due = None;
                        return Waited::Bookmark(due);
                    }
                }
            }
            tokio::select! {
                biased;
                () = until(self.end) => return Waited::End,
                () = until(self.bookmark_at) => {
                    self.bookmark_at = Some(next_bookmark(Instant::now(), self.end));
                    self.due = Some(self.store.revision().max(self.delivered));
                }
                event = self.watcher.next() => return Waited::Event(event),
            }
        }
    }

    /// What a change of the store is to this client; `None` when it does not see it.
    fn translate(&self, event: &Event) -> Result<Option<WatchEvent>, Status> {
        let object = codec::present(self.kind, &event.entry.object)?;
        let previous =
            event.previous.as_ref().map(|previous| codec::present(self.kind, previous)).transpose()?;
        let seen = |object: &Encoded| self.selection.has(object);
        let was_seen = match &previous {
            Some(previous) => seen(previous)?,
            None => event.kind == EventKind::Deleted && seen(&object)?,
        };
        let kind = match event.kind {
            EventKind::Deleted if was_seen => WatchEventKind::Deleted,
            EventKind::Deleted => return Ok(None),
            EventKind::Created | EventKind::Updated => match (was_seen, seen(&object)?) {
                (false, false) => return Ok(None),
                (false, true) => WatchEventKind::Added,
                (true, true) => WatchEventKind::Modified,
                (true, false) => {
                    let last = previous.unwrap_or(object);
                    let object = codec::restamp(&last, event.revision());
                    return Ok(Some(WatchEvent { kind: WatchEventKind::Deleted, object }));
                }
            },
        };
        Ok(Some(WatchEvent { kind, object }))
    }
}

fn next_bookmark(now: Instant, end: Option<Instant>) -> Instant {
    let regular = now + BOOKMARK_EVERY;
    match end.and_then(|end| end.checked_sub(BOOKMARK_BEFORE_END)) {
        Some(last) if last > now => regular.min(last),
        _ => regular,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn bookmark(kind: &Kind, revision: Revision, ends_initial_events: bool) -> WatchEvent {
    let mut object = serde_json::json!({
        "kind": kind.gvk.kind,
        "apiVersion": kind.gvk.api_version(),
        "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null },
    });
    if ends_initial_events {
        object["metadata"]["annotations"] = serde_json::json!({ INITIAL_EVENTS_END: "true" });
    }
    let object = Arc::new(Encoded::new(Bytes::from(object.to_string()), revision));
    WatchEvent { kind: WatchEventKind::Bookmark, object }
}

fn unwatchable(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { asked, oldest } => {
            Status::expired(format!("too old resource version: {asked} ({oldest})"))
        }
        ReadError::Future { asked, newest } => too_large(*asked, *newest),
    }
}

fn ended(error: &WatchError) -> Status {
    match error {
        WatchError::Lagged => Status::new(
            model::status::Reason::TooManyRequests,
            "the watch was read too slowly; resume from the last resourceVersion seen",
        ),
        WatchError::Closed => {
            Status::new(model::status::Reason::ServiceUnavailable, "the server is shutting down")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::StreamExt;
    use model::clock::FixedClock;

    use super::*;
    use crate::request::{Context, Input, User, WriteOptions};

    async fn write_until(api: Arc<Api>, collection: Address, stop: Arc<AtomicBool>) {
        let cx = Context::new(User::component("test"));
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let object = serde_json::json!({"metadata": {"name": format!("n-{number}")}});
            let created = api.create(&cx, &collection, Input::from(object), &WriteOptions::default()).await;
            created.expect("creates");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bookmark_neither_overtakes_an_event_nor_waits_for_silence() {
        let now = "2026-03-01T00:00:00Z".parse().expect("a time");
        let api = Api::in_memory(Arc::new(FixedClock(now)));
        let collection = Address::new(api.kind_at("", "v1", "namespaces").expect("is served"), "", "");
        let query = WatchQuery { bookmarks: true, timeout_seconds: Some(3), ..WatchQuery::default() };
        let mut events = std::pin::pin!(api.watch(&collection, &query).expect("watches"));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn(write_until(Arc::clone(&api), collection, Arc::clone(&stop)));
        let (mut seen, mut bookmarked, mut after) = (Revision(0), None, 0);
        while let Some(event) = events.next().await {
            let event = event.expect("is an event");
            let revision = event.object.revision();
            match event.kind {
                WatchEventKind::Bookmark => {
                    assert!(revision >= seen);
                    bookmarked = Some(revision);
                }
                _ => {
                    assert!(
                        bookmarked.is_none_or(|bookmark| revision > bookmark),
                        "{revision} {bookmarked:?}"
                    );
                    seen = revision;
                    after += u32::from(bookmarked.is_some());
                }
            }
            if after > 200 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.await.expect("the writer ends");
        assert!(bookmarked.is_some(), "there was no bookmark");
    }
}
