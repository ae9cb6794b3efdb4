//! One simulated cluster: every part of it in one thread, on a time that only moves when all of them wait.
//!
//! The parts are the real ones, composed as the binary composes them; what is simulated is below and between
//! them: the disk, the containers, the network, the clock, and the way to the API ([`crate::faults`]). Read
//! next: [`crate::user`] (what happens), [`crate::safety`] (what must hold meanwhile), [`crate::rest`] (what
//! must hold in the end).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use client::{Client, Transport};
use futures::FutureExt;
use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use model::clock::Clock;
use network::simulated::SimulatedNetwork;
use node::{Agent, AgentConfig, Capacity, Machine};
use runtime::simulated::{SimulatedImages, SimulatedRuntime};
use storage::driver::Driver;
use storage::simulated::SimulatedDriver;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::faults::{Faulty, Lie};
use crate::machine::{Ledger, Mounts, Watched};
use crate::parts::Parts;
use crate::record::Record;
use crate::rest::{self, Stillness};
use crate::safety::{Safety, USER};
use crate::server::{Observer, Server};
use crate::user::User;

/// What the user and the faults have time for.
const FAULTS_SECONDS: u64 = 45;
/// From the end of the faults until all must be as the specs say. The longest back-off on the way is that of
/// a container that crashed again and again: five minutes; a few steps that wait for each other may follow.
const CONVERGENCE_SECONDS: u64 = 1_200;
/// How often it is looked whether all is so.
const LOOK_SECONDS: u64 = 3;
/// After that, what was still under way may end ...
const ENDING_SECONDS: u64 = 10;
/// ... and then nothing may be written for this long.
const STILL_SECONDS: u64 = 100;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing.
    Nothing,
    /// The StatefulSet controller's way to the API.
    SetController(Lie),
    /// The nodes' runtimes say that containers have ended which go on.
    Runtimes,
    /// A part that deletes claims.
    ClaimEater,
    /// A part that writes for ever.
    Scribbler,
}

/// What came of a simulation.
pub(crate) struct Outcome {
    /// Everything that happened.
    pub(crate) lines: Vec<String>,
    /// The rule that was broken.
    pub(crate) broken: Option<String>,
}

thread_local! {
    /// Panics of this thread, which tasks may swallow.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs one seed to its end.
pub(crate) fn run(seed: u64, broken: Broken) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
    PANICS.take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime is made");
    let directory = tempfile::Builder::new().prefix("simulation").tempdir().expect("a directory is made");
    let root = directory.path().to_owned();
    let mut outcome = runtime.block_on(async {
        let mut simulation = Simulation::start(seed, root, broken).await;
        simulation.live().await;
        Outcome { lines: simulation.record.lines(), broken: simulation.record.broken() }
    });
    if let Some(panic) = PANICS.take().into_iter().next() {
        outcome.broken.get_or_insert(panic);
    }
    outcome
}

/// The simulation's clock: tokio's, which the simulation owns, from a fixed moment on.
struct SimulatedClock {
    begin: Timestamp,
    since: Instant,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.since.elapsed()).expect("a simulation is short");
        self.begin + passed
    }
}

/// A node: what outlives its agent.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    address: IpAddr,
    root: PathBuf,
    machine: Mutex<Power>,
}

/// What a node loses with its power.
#[derive(Clone)]
struct Power {
    runtime: SimulatedRuntime,
    network: Arc<SimulatedNetwork>,
}

/// The cluster.
pub(crate) struct Simulation {
    pub(crate) dice: Arc<Dice>,
    pub(crate) record: Arc<Record>,
    pub(crate) server: Arc<Server>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) safety: Arc<Safety>,
    pub(crate) stillness: Arc<Stillness>,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) parts: Parts,
    clock: Arc<dyn Clock>,
    driver: Arc<SimulatedDriver>,
    broken: Broken,
}

impl Simulation {
    async fn start(seed: u64, root: PathBuf, broken: Broken) -> Simulation {
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().expect("is a time");
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock { begin, since: Instant::now() });
        let (dice, record) = (Arc::new(Dice::new(seed)), Arc::new(Record::new()));
        let ledger = Arc::new(Ledger::new(Arc::clone(&record)));
        let safety = Arc::new(Safety::new(Arc::clone(&record), Arc::clone(&ledger)));
        let stillness = Arc::new(Stillness::default());
        let (told, seen, still) = (Arc::clone(&record), Arc::clone(&safety), Arc::clone(&stillness));
        let observer: Observer = Arc::new(move |event, by| {
            let (key, revision) = (&event.entry.key, event.revision());
            let bytes = event.entry.object.bytes();
            told.note(&format!("{revision} {:?} {key} {:08x} by {by}", event.kind, checksum(bytes)));
            still.see(key, revision);
            seen.see(event, by);
        });
        let server = Arc::new(Server::new(Arc::clone(&clock), seed, observer));
        server.start().await;
        let parts = Parts::new(Arc::clone(&dice), Arc::clone(&record));
        let driver = Arc::new(SimulatedDriver::new());
        let nodes = Vec::new();
        let mut simulation = Simulation {
            dice,
            record,
            server,
            ledger,
            safety,
            stillness,
            nodes,
            parts,
            clock,
            driver,
            broken,
        };
        simulation.start_controllers();
        for (number, name) in [(1, "node-a"), (2, "node-b")] {
            simulation.start_node(number, name, root.join(name));
        }
        simulation
    }

    /// The way of a part to the API.
    fn way(&self, part: &'static str) -> (Arc<dyn Transport>, Arc<Notify>) {
        let crash = Arc::new(Notify::new());
        let lie = match self.broken {
            Broken::SetController(lie) if part == "statefulset" => Some(lie),
            _ => None,
        };
        let faulty = Faulty {
            part,
            server: Arc::clone(&self.server),
            dice: Arc::clone(&self.dice),
            record: Arc::clone(&self.record),
            safety: Arc::clone(&self.safety),
            crash: Arc::clone(&crash),
            lie,
        };
        (Arc::new(faulty), crash)
    }

    fn keep<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        run: impl Fn(Client, Arc<dyn Clock>, CancellationToken, CancellationToken) -> F + Send + 'static,
    ) {
        let (transport, crash) = self.way(name);
        let (client, clock) = (Client::new(transport, name), Arc::clone(&self.clock));
        self.parts.keep(name, crash, move || {
            let (ready, stop) = (CancellationToken::new(), CancellationToken::new());
            run(client.clone(), Arc::clone(&clock), ready, stop).boxed()
        });
    }

    fn start_controllers(&mut self) {
        let resources = self.server.resources();
        self.keep("statefulset", controllers::statefulset::run);
        self.keep("scheduler", scheduler::run);
        self.keep("endpoints", controllers::endpoints::run);
        self.keep("disruption", controllers::disruption::run);
        self.keep("node-lifecycle", controllers::node_lifecycle::run);
        self.keep("taint-eviction", controllers::taint_eviction::run);
        self.keep("garbage-collector", move |client, clock, ready, stop| {
            controllers::garbage_collector::run(client, clock, resources.clone(), ready, stop)
        });
        let driver = self.mounts("volumes");
        self.keep("volumes", move |client, clock, ready, stop| {
            controllers::volumes::run(client, vec![Arc::clone(&driver)], clock, ready, stop)
        });
    }

    fn mounts(&self, node: &'static str) -> Arc<dyn Driver> {
        Arc::new(Mounts { node, inner: Arc::clone(&self.driver), ledger: Arc::clone(&self.ledger) })
    }

    fn new_power(&self, number: u8) -> Power {
        let range = Ipv4Net::new_assert(Ipv4Addr::new(10, 42, number, 0), 24);
        let runtime = SimulatedRuntime::new(Arc::clone(&self.clock));
        Power { runtime, network: Arc::new(SimulatedNetwork::new(range)) }
    }

    fn start_node(&mut self, number: u8, name: &'static str, root: PathBuf) {
        let address = IpAddr::from([10, 0, 0, number]);
        let node = Arc::new(Node { name, address, root, machine: Mutex::new(self.new_power(number)) });
        self.nodes.push(Arc::clone(&node));
        let (transport, crash) = self.way(name);
        let (clock, ledger, driver) = (Arc::clone(&self.clock), Arc::clone(&self.ledger), self.mounts(name));
        let lies = self.broken == Broken::Runtimes;
        self.parts.keep(name, crash, move || {
            let power = node.power();
            let runtime = Watched { node: name, inner: power.runtime, ledger: Arc::clone(&ledger), lies };
            let agent = Agent::new(
                node.config(),
                Client::new(Arc::clone(&transport), "kubelet"),
                Arc::new(runtime),
                Arc::new(SimulatedImages::new()),
                power.network,
                vec![Arc::clone(&driver)],
                Arc::clone(&clock),
            );
            async move { agent.run(CancellationToken::new()).await.expect("its directories can be made") }
                .boxed()
        });
    }

    /// A node loses its power: its containers end, and its agent begins again with what is on its disk.
    pub(crate) fn power_off(&self, index: usize) {
        let node = &self.nodes[index];
        self.record.note(&format!("fault: {} loses its power", node.name));
        let power = self.new_power(u8::try_from(index + 1).expect("there are two"));
        let before = std::mem::replace(&mut *node.lock(), power);
        self.ledger.powered_off(node.name);
        // Whatever still holds the runtime of before holds containers that have ended.
        for container in before.runtime.containers() {
            before.runtime.end(&container, 137, false);
        }
        self.parts.crash(node.name);
    }

    async fn live(&mut self) {
        let transport: Arc<dyn Transport> = Arc::clone(&self.server) as Arc<dyn Transport>;
        let client = Client::new(transport, USER);
        self.start_broken(&client);
        let user = User::new(client.clone(), Arc::clone(&self.dice), Arc::clone(&self.record));
        let end = Instant::now() + Duration::from_secs(FAULTS_SECONDS);
        while Instant::now() < end && self.record.broken().is_none() {
            user.act(self).await;
            tokio::time::sleep(self.dice.pause(4_000)).await;
        }
        self.record.note("no more faults");
        self.dice.end_faults();
        user.mend().await;
        if self.record.broken().is_some() || !self.converges(&client).await {
            return;
        }
        self.record.note("all is as it should be");
        tokio::time::sleep(Duration::from_secs(ENDING_SECONDS)).await;
        let before = self.stillness.newest();
        tokio::time::sleep(Duration::from_secs(STILL_SECONDS)).await;
        let after = self.stillness.newest();
        if before != after {
            let what = self.stillness.newest_key();
            self.record.broke(&format!("rule 7: the cluster is at rest, and still {what} is written"));
        }
        if let Some(unsettled) = rest::unsettled(&client, &self.ledger).await {
            self.record.broke(&format!("rule 7: it did not stay so: {unsettled}"));
        }
    }

    async fn converges(&self, client: &Client) -> bool {
        let limit = Instant::now() + Duration::from_secs(CONVERGENCE_SECONDS);
        loop {
            tokio::time::sleep(Duration::from_secs(LOOK_SECONDS)).await;
            if self.record.broken().is_some() {
                return false;
            }
            let Some(unsettled) = rest::unsettled(client, &self.ledger).await else { return true };
            if Instant::now() > limit {
                self.record.broke(&format!("rule 7: it does not come to rest: {unsettled}"));
                return false;
            }
        }
    }

    fn start_broken(&mut self, client: &Client) {
        let (client, dice) = (client.clone(), Arc::clone(&self.dice));
        match self.broken {
            Broken::ClaimEater => self.parts.beside(crate::broken::eat_claims(client, dice)),
            Broken::Scribbler => self.parts.beside(crate::broken::scribble(client)),
            _ => {}
        }
    }
}

impl Node {
    fn lock(&self) -> std::sync::MutexGuard<'_, Power> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn power(&self) -> Power {
        self.lock().clone()
    }

    /// The runtime that runs now.
    pub(crate) fn runtime(&self) -> SimulatedRuntime {
        self.power().runtime
    }

    fn config(&self) -> AgentConfig {
        AgentConfig {
            node_name: self.name.to_owned(),
            root_dir: self.root.clone(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            pod_cidr: "10.42.0.0/16".to_owned(),
            node_ip: self.address,
            capacity: Capacity {
                cpu_milli: 64_000,
                memory_bytes: 1 << 40,
                ephemeral_storage_bytes: 1 << 40,
                pods: 110,
            },
            labels: BTreeMap::new(),
            version: "v1.37.0-simulated".to_owned(),
            machine: Machine::Simulated,
        }
    }
}

/// FNV-1a: enough to tell two histories apart.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
