//! The loop that every controller runs in: events change the view, keys are queued, decided about and
//! carried out.
//!
//! One task owns the controller, so that there is no lock: it waits for one [`Wake`], applies it
//! synchronously and then starts whatever work there is. Only carrying out a plan is asynchronous; at most
//! [`EXECUTIONS_MAX`] are under way, never two for one key. After an execution its key is not decided about
//! again before the view has seen what was written ([`crate::barrier`]), and after a long decision it rests
//! ([`crate::pacing`]).
//!
//! The loop must never wait for anything but the next wake, and never look into plans.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use client::{Change, Client, Scope, Typed, reflect};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use model::clock::Clock;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::barrier::Barrier;
use crate::pacing::Rests;
use crate::picture::Picture;
use crate::queue::WorkQueue;

/// Plans of different keys that one controller carries out at the same time. Each may have calls of its
/// own under way; sixteen keep two cores and a group commit busy, more only lengthen the server's queues.
pub const EXECUTIONS_MAX: usize = 16;
/// Events applied before new work is started: a burst is seen whole, and still a turn stays under a
/// millisecond or two (applying one takes microseconds).
const EVENTS_PER_TURN_MAX: usize = 256;

/// Names an object of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ObjectKey {
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object by its names.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> ObjectKey {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Typed>(object: &K) -> ObjectKey {
        let metadata = object.metadata();
        ObjectKey {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl Display for ObjectKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return formatter.write_str(&self.name);
        }
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What came of a decision.
pub struct Decision<P> {
    /// What to do; `None` for nothing.
    pub plan: Option<P>,
    /// When to decide again though nothing has changed.
    pub requeue_after: Option<Duration>,
}

impl<P> Decision<P> {
    /// Nothing to do until something changes.
    pub fn nothing() -> Decision<P> {
        Decision { plan: None, requeue_after: None }
    }
}

/// What came of carrying out a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the view has to see before the next decision about this key.
    pub barrier: Barrier,
    /// What went wrong, with its chain. The key is decided about again after its back-off.
    pub error: Option<Box<dyn Error + Send + Sync>>,
}

/// A controller: decisions over its view and a way to carry them out.
pub trait Controller: Send + 'static {
    /// Its name, as in logs and as the caller of its writes.
    const NAME: &'static str;
    /// What it knows.
    type View: Picture;
    /// What it decided.
    type Plan: Send + 'static;

    /// Decides about a key, and notes in the view what later decisions must know of this one. Must be quick:
    /// the loop stands still meanwhile.
    fn decide(&mut self, view: &mut Self::View, key: &Key<Self>, now: Timestamp) -> Decision<Self::Plan>;

    /// Carries a plan out.
    fn execute(&self, key: &Key<Self>, plan: Self::Plan) -> BoxFuture<'static, Outcome>;
}

/// What a controller decides about.
pub type Key<C> = <<C as Controller>::View as Picture>::Key;
/// What can happen to its view.
pub type Event<C> = <<C as Controller>::View as Picture>::Event;

/// Every change of the objects of a kind, as events of a controller.
pub fn watch<K: Typed, E: 'static>(
    client: &Client,
    wrap: impl Fn(Change<K>) -> E + Send + 'static,
) -> BoxStream<'static, E> {
    reflect::<K>(client.clone(), Scope::default()).map(wrap).boxed()
}

/// Runs a controller until `stop` is cancelled. What is being carried out then is dropped between two
/// writes, which is safe for the same reason that a crash there is. `ready` is cancelled once the first
/// picture is complete.
pub async fn run<C: Controller>(
    controller: C,
    view: C::View,
    events: Vec<BoxStream<'static, Event<C>>>,
    clock: Arc<dyn Clock>,
    ready: CancellationToken,
    stop: CancellationToken,
) {
    let mut events = futures::stream::select_all(events);
    let mut state = State {
        controller,
        view,
        clock,
        queue: WorkQueue::default(),
        barriers: HashMap::new(),
        parked: BTreeSet::new(),
        rests: Rests::default(),
        executions: JoinSet::new(),
        keys: HashMap::new(),
    };
    loop {
        let wakes_at = state.wakes_at();
        let wake = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(finished) = state.executions.join_next_with_id() => Wake::Finished(finished),
            Some(event) = events.next() => Wake::Event(event),
            () = sleep_until(wakes_at) => Wake::Due,
        };
        match wake {
            Wake::Finished(finished) => state.finish(finished),
            Wake::Event(event) => {
                state.apply(event);
                for _ in 1..EVENTS_PER_TURN_MAX {
                    let Some(Some(event)) = events.next().now_or_never() else { break };
                    state.apply(event);
                }
                state.unpark();
                if state.view.is_synced() {
                    ready.cancel();
                }
            }
            Wake::Due => {}
        }
        state.start_work();
    }
}

/// Everything that wakes the loop.
enum Wake<E> {
    Event(E),
    Finished(Result<(Id, Outcome), JoinError>),
    Due,
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct State<C: Controller> {
    controller: C,
    view: C::View,
    clock: Arc<dyn Clock>,
    queue: WorkQueue<Key<C>>,
    /// Writes that the view has not seen yet, by the key they were made for.
    barriers: HashMap<Key<C>, Barrier>,
    /// Keys that want work and are held back by their barrier.
    parked: BTreeSet<Key<C>>,
    /// Keys whose last decision took long.
    rests: Rests<Key<C>>,
    executions: JoinSet<Outcome>,
    /// The key of each execution; as many as there are executions.
    keys: HashMap<Id, Key<C>>,
}

impl<C: Controller> State<C> {
    /// When there is something to do though nothing happens.
    fn wakes_at(&self) -> Option<Instant> {
        if self.executions.len() >= EXECUTIONS_MAX || !self.view.is_synced() {
            return None;
        }
        self.queue.next_due()
    }

    fn apply(&mut self, event: Event<C>) {
        for key in self.view.apply(event) {
            let rank = self.view.rank(&key);
            self.queue.add(key, rank);
        }
    }

    /// Lets go of the keys whose writes have been seen.
    fn unpark(&mut self) {
        let State { view, barriers, parked, queue, .. } = self;
        parked.retain(|key| {
            let held = barriers.get_mut(key).is_some_and(|barrier| !view.lift(barrier));
            if !held {
                barriers.remove(key);
                queue.add(key.clone(), view.rank(key));
            }
            held
        });
    }

    fn start_work(&mut self) {
        if !self.view.is_synced() {
            return;
        }
        while self.executions.len() < EXECUTIONS_MAX
            && let Some(key) = self.queue.pop(Instant::now())
        {
            if let Some(until) = self.rests.until(&key, Instant::now()) {
                self.queue.done(&key);
                let rank = self.view.rank(&key);
                self.queue.add_at(key, rank, until);
                continue;
            }
            if self.is_held(&key) {
                self.queue.done(&key);
                self.parked.insert(key);
                continue;
            }
            self.decide(key);
        }
    }

    fn is_held(&mut self, key: &Key<C>) -> bool {
        let Some(barrier) = self.barriers.get_mut(key) else { return false };
        if self.view.lift(barrier) {
            self.barriers.remove(key);
            return false;
        }
        true
    }

    fn decide(&mut self, key: Key<C>) {
        let began = Instant::now();
        let decision = self.controller.decide(&mut self.view, &key, self.clock.now());
        self.rests.decided(&key, began, Instant::now());
        if let Some(pause) = decision.requeue_after {
            self.queue.add_at(key.clone(), self.view.rank(&key), Instant::now() + pause);
        }
        match decision.plan {
            Some(plan) => {
                let handle = self.executions.spawn(self.controller.execute(&key, plan));
                self.keys.insert(handle.id(), key);
            }
            None => {
                self.queue.forget(&key);
                self.queue.done(&key);
            }
        }
    }

    fn finish(&mut self, finished: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match finished {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Outcome { error: Some(error.into()), ..Outcome::default() }),
        };
        let key = self.keys.remove(&id).expect("each execution was started for a key");
        self.queue.done(&key);
        if !outcome.barrier.is_empty() {
            self.barriers.entry(key.clone()).or_default().merge(outcome.barrier);
        }
        // Decided about once more either way: events that came before the view was complete again would
        // otherwise be the last for a while.
        let rank = self.view.rank(&key);
        match outcome.error {
            None => {
                self.queue.forget(&key);
                self.queue.add(key, rank);
            }
            Some(error) => {
                let pause = self.queue.add_after_failure(key.clone(), rank, Instant::now());
                let error = Chain(error.as_ref());
                tracing::warn!(controller = C::NAME, %key, ?pause, "will be tried again: {error}");
            }
        }
    }
}

/// An error with everything it came from.
struct Chain<'a>(&'a (dyn Error + Send + Sync));

impl Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Display::fmt(self.0, formatter)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
