//! The API as a value: what it is made of, and where each part of a request finds it.
//!
//! An [`Api`] holds no object itself: objects are the store's. It must never start a task of its own; whoever
//! serves it (the HTTP server, the composition root) does. Read next: [`crate::pipeline`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use client::node::NodeGateway;
use client::review::Forecaster;
use client::transport::Transport;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use model::clock::Clock;
use model::encoded::Revision;
use model::resource::GroupVersionResource;
use model::status::Status;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::Store;

use crate::admission::Chain;
use crate::authz::{AllowMasters, Authorizer};
use crate::http::frames::Frames;
use crate::kind::Kind;
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::subresources::eviction::Lines;
use crate::transport::InProcess;

/// What an operator may choose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Range that Services get their addresses from.
    pub service_cidr: Ipv4Net,
    /// First and last port that Services of type `NodePort` get.
    pub node_ports: (u16, u16),
    /// Most requests served at once, watches and other long ones aside; more get 429.
    pub requests_in_flight_max: usize,
    /// Most connections open at once; more wait in the kernel's queue.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            service_cidr: Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 96, 0, 0), 16),
            node_ports: (30_000, 32_767),
            // Upstream's sum of reads (400) and writes (200).
            requests_in_flight_max: 600,
            // A thousand nodes and operators with a few connections each.
            connections_max: 4_096,
        }
    }
}

/// The Kubernetes API over one store.
pub struct Api {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    pub(crate) admission: Chain,
    pub(crate) authorizer: Box<dyn Authorizer>,
    pub(crate) metrics: Metrics,
    pub(crate) frames: Frames,
    pub(crate) openapi: OpenApi,
    /// Where evictions wait for each other.
    pub(crate) evictions: Lines,
    kinds: Vec<&'static Kind>,
    rng: Mutex<StdRng>,
    node_gateway: OnceLock<Arc<dyn NodeGateway>>,
    forecaster: OnceLock<Arc<dyn Forecaster>>,
    ready: AtomicBool,
}

impl Api {
    /// An API that serves `kinds` from `store`. `seed` feeds uids, generated names and allocations.
    pub fn new(
        store: Arc<dyn Store>,
        kinds: Vec<&'static Kind>,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
        config: Config,
    ) -> Arc<Api> {
        Arc::new(Api {
            store,
            clock,
            config,
            admission: Chain::built_in(),
            authorizer: Box::new(AllowMasters),
            metrics: Metrics::new(),
            frames: Frames::default(),
            openapi: OpenApi::new(&kinds),
            evictions: Lines::default(),
            kinds,
            rng: Mutex::new(StdRng::from_seed(seed)),
            node_gateway: OnceLock::new(),
            forecaster: OnceLock::new(),
            ready: AtomicBool::new(true),
        })
    }

    /// An API with the built-in kinds over an empty store in memory; for tests and simulations.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Arc<Api> {
        let store: Arc<dyn Store> = Arc::new(store::MemoryStore::new(Arc::clone(&clock)));
        Api::new(store, crate::kinds::all(), clock, [7; 32], Config::default())
    }

    /// The way to this API inside this process.
    pub fn transport(self: &Arc<Api>) -> Arc<dyn Transport> {
        Arc::new(InProcess::new(Arc::clone(self)))
    }

    /// Says whether everything that the cluster needs is running: what `/readyz` answers. An API is ready
    /// from the start unless somebody says otherwise; `/livez` and `/healthz` do not ask.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// What [`Api::set_ready`] said last.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// True while somebody watches over HTTP.
    pub fn has_watchers(&self) -> bool {
        self.metrics.watchers.get() > 0
    }

    /// Tells where logs, exec and attach are answered. Only the first call counts.
    pub fn set_node_gateway(&self, gateway: Arc<dyn NodeGateway>) {
        if self.node_gateway.set(gateway).is_err() {
            tracing::warn!("the node gateway is set already; the second one is ignored");
        }
    }

    pub(crate) fn node_gateway(&self) -> Result<&Arc<dyn NodeGateway>, Status> {
        self.node_gateway.get().ok_or_else(|| {
            Status::new(model::status::Reason::ServiceUnavailable, "no node agent is connected")
        })
    }

    /// Tells who knows what StatefulSets would do. Only the first call counts.
    pub fn set_forecaster(&self, forecaster: Arc<dyn Forecaster>) {
        if self.forecaster.set(forecaster).is_err() {
            tracing::warn!("the forecaster is set already; the second one is ignored");
        }
    }

    pub(crate) fn forecaster(&self) -> Result<&Arc<dyn Forecaster>, Status> {
        self.forecaster.get().ok_or_else(|| {
            let text = "the StatefulSet controller does not run beside this API server";
            Status::new(model::status::Reason::ServiceUnavailable, text)
        })
    }

    /// The kinds served, in discovery's order.
    pub fn kinds(&self) -> &[&'static Kind] {
        &self.kinds
    }

    /// The kind behind a resource.
    pub fn kind(&self, resource: &GroupVersionResource) -> Option<&'static Kind> {
        self.kind_at(&resource.group, &resource.version, &resource.resource)
    }

    /// The kind behind a resource, by its names.
    pub fn kind_at(&self, group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
        self.kinds.iter().copied().find(|kind| {
            kind.gvr.resource == resource && kind.gvr.group == group && kind.gvr.version == version
        })
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// What the operator chose.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sixteen random bytes with the marks of a version 4 UUID.
    pub(crate) fn new_uid(&self) -> String {
        let bytes: [u8; 16] = self.random(Rng::random);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Draws from the one generator of this API.
    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        draw(&mut rng)
    }
}
