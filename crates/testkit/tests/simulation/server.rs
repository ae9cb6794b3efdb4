//! The API server of a simulation: the real pipeline over a store in memory, which can crash and come back.
//!
//! Every change that the store makes durable is told to an observer at that moment, with the name of whoever
//! made it. The server must never decide anything about faults: see [`crate::faults`].

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use apiserver::Api;
use async_trait::async_trait;
use client::transport::{Call, ListOptions, Reply, Target, Transport, Watch};
use futures::FutureExt;
use model::clock::Clock;
use model::encoded::Revision;
use model::status::{Reason, Status};
use store::{
    Commit, CommitError, Entry, Event, HistoryLimits, MemoryDisk, MemoryStore, Page, Range, ReadError, Store,
    Txn, Watcher,
};

tokio::task_local! {
    /// Who makes the present call.
    static CALLER: &'static str;
}

/// Is told of every durable change, and who made it.
pub(crate) type Observer = Arc<dyn Fn(&Event, &'static str) + Send + Sync>;

/// The server.
pub(crate) struct Server {
    disk: MemoryDisk,
    clock: Arc<dyn Clock>,
    observer: Observer,
    seed: [u8; 32],
    lives: AtomicU8,
    now: RwLock<Option<Running>>,
}

#[derive(Clone)]
struct Running {
    api: Arc<Api>,
    store: Arc<dyn Store>,
    transport: Arc<dyn Transport>,
}

impl Server {
    /// A server that does not run yet.
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: u64, observer: Observer) -> Server {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (disk, lives, now) = (MemoryDisk::default(), AtomicU8::new(0), RwLock::default());
        Server { disk, clock, observer, seed: bytes, lives, now }
    }

    /// Starts with what the disk holds.
    pub(crate) async fn start(&self) {
        let limits = HistoryLimits::default();
        let inner = MemoryStore::open(&self.disk, Arc::clone(&self.clock), limits);
        let inner = inner.expect("what was written is whole");
        let watcher = inner.watch("", inner.revision()).expect("the newest revision is there");
        let observer = Arc::clone(&self.observer);
        let store: Arc<dyn Store> = Arc::new(Observed { inner, watcher: Mutex::new(watcher), observer });
        let mut seed = self.seed;
        seed[31] = self.lives.fetch_add(1, Ordering::Relaxed);
        let config = apiserver::Config::default();
        let kinds = apiserver::kinds::all();
        let api = Api::new(Arc::clone(&store), kinds, Arc::clone(&self.clock), seed, config);
        let made = apiserver::bootstrap::ensure(&api, [127, 0, 0, 1].into(), 6443).await;
        made.expect("the objects that every cluster has are made");
        let transport = api.transport();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(Running { api, store, transport });
    }

    /// Ends at once: calls under way fail, watches break off.
    pub(crate) async fn crash(&self) {
        let running = self.now.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.store.close().await;
        }
    }

    /// The next writes to the disk go wrong in these ways.
    pub(crate) fn fail_writes(&self, faults: &[store::Fault]) {
        faults.iter().for_each(|fault| self.disk.fail_next_append(*fault));
    }

    /// The kinds that are served.
    pub(crate) fn resources(&self) -> Vec<controllers::api_resource::ApiResource> {
        let running = self.running().expect("the server runs");
        let kinds = running.api.kinds().iter();
        kinds
            .map(|kind| controllers::api_resource::ApiResource {
                resource: kind.gvr.clone(),
                kind: kind.gvk.clone(),
                namespaced: kind.namespaced,
            })
            .collect()
    }

    fn running(&self) -> Result<Running, Status> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        now.clone().ok_or_else(|| Status::new(Reason::ServiceUnavailable, "the server does not run"))
    }
}

#[async_trait]
impl Transport for Server {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let running = self.running()?;
        let caller = call.caller;
        CALLER.scope(caller, running.transport.call(call)).await
    }

    async fn watch(
        &self,
        target: Target,
        options: ListOptions,
        after: Revision,
        caller: &'static str,
    ) -> Result<Watch, Status> {
        self.running()?.transport.watch(target, options, after, caller).await
    }
}

/// A store that tells of its changes as it makes them.
struct Observed {
    inner: MemoryStore,
    watcher: Mutex<Watcher>,
    observer: Observer,
}

impl Observed {
    fn tell(&self) {
        let caller = CALLER.try_with(|caller| *caller).unwrap_or("the server");
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Ok(event)) = tokio::task::unconstrained(watcher.next()).now_or_never() {
            (self.observer)(&event, caller);
        }
    }
}

#[async_trait]
impl Store for Observed {
    async fn commit(&self, txn: Txn) -> Result<Commit, CommitError> {
        let outcome = self.inner.commit(txn).await;
        self.tell();
        outcome
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.inner.get(key)
    }

    fn range(&self, range: &Range) -> Result<Page, ReadError> {
        self.inner.range(range)
    }

    fn count(&self, prefix: &str) -> usize {
        self.inner.count(prefix)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watcher, ReadError> {
        self.inner.watch(prefix, after)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
