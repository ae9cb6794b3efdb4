//! A thousand pods on one agent over the simulated runtime: whatever is done without need shows as a call.
//! That an idle pod has no timer is shown by the plan's own tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use apiserver::Api;
use async_trait::async_trait;
use client::{Call, Client, ListOptions, Reply, Scope, Target, Transport, Verb, Watch};
use k8s_openapi::api::core::v1::Pod;
use model::clock::Clock;
use model::encoded::Revision;
use model::status::Status;
use node::{Agent, AgentConfig, Capacity};
use runtime::api::{ContainerId, ContainerState, Runtime};
use runtime::simulated::{SimulatedImages, SimulatedRuntime};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakeNetwork, SystemClock};

const PODS: usize = 1000;
/// Writes that the agent may need to bring one pod to Ready: it is seen, it starts, it is ready.
const WRITES_PER_POD_MAX: usize = 3;

/// Counts the agent's writes of pods, and of anything else but its own node's objects.
struct Counting {
    inner: Arc<dyn Transport>,
    pod_writes: AtomicUsize,
    others: Mutex<BTreeMap<String, usize>>,
}

#[async_trait]
impl Transport for Counting {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let resource = call.target.resource.resource.to_string();
        if call.caller == "kubelet" {
            match (call.verb, resource.as_str()) {
                (Verb::Get | Verb::List, _) | (_, "nodes" | "leases" | "events") => {}
                (_, "pods") => drop(self.pod_writes.fetch_add(1, Ordering::Relaxed)),
                (_, other) => *self.others.lock().unwrap().entry(other.to_owned()).or_default() += 1,
            }
        }
        self.inner.call(call).await
    }

    async fn watch(
        &self,
        target: Target,
        options: ListOptions,
        after: Revision,
        caller: &'static str,
    ) -> Result<Watch, Status> {
        self.inner.watch(target, options, after, caller).await
    }
}

struct Crowd {
    root: tempfile::TempDir,
    transport: Arc<Counting>,
    runtime: SimulatedRuntime,
    network: Arc<FakeNetwork>,
    clock: Arc<dyn Clock>,
}

impl Crowd {
    fn client(&self, caller: &'static str) -> Client {
        Client::new(self.transport.clone(), caller)
    }

    fn start_agent(&self) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let config = AgentConfig {
            node_name: "node-a".to_owned(),
            root_dir: self.root.path().to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            pod_cidr: "10.42.0.0/16".to_owned(),
            node_ip: "192.0.2.7".parse().expect("valid"),
            capacity: Capacity {
                cpu_milli: 2000,
                memory_bytes: 4 << 30,
                ephemeral_storage_bytes: 10 << 30,
                pods: 2 * i64::try_from(PODS).expect("small"),
            },
            labels: BTreeMap::new(),
            version: "v1.37.0-test".to_owned(),
            machine: node::Machine::Real,
        };
        let agent = Agent::new(
            config,
            self.client("kubelet"),
            Arc::new(self.runtime.clone()),
            Arc::new(SimulatedImages::new()),
            self.network.clone(),
            Vec::new(),
            Arc::clone(&self.clock),
        );
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        (cancel, tokio::spawn(async move { agent.run(stop).await.expect("runs") }))
    }

    async fn ready(&self) -> usize {
        let (pods, _) = self.client("test").list::<Pod>(&Scope::default()).await.expect("listed");
        pods.iter().filter(|pod| super::is_ready(pod)).count()
    }

    async fn running(&self) -> BTreeSet<ContainerId> {
        let all = self.runtime.list_containers().await.expect("listed");
        let running = all.into_iter().filter(|c| matches!(c.state, ContainerState::Running { .. }));
        running.map(|container| container.id).collect()
    }

    fn pod_writes(&self) -> usize {
        self.transport.pod_writes.load(Ordering::Relaxed)
    }
}

impl Crowd {
    async fn create(&self, name: &str) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "image": "busybox:1"}]},
        }))
        .expect("a pod");
        self.client("test").create(&pod).await.expect("made");
    }

    async fn wait_until_ready(&self, count: usize) {
        let wait = async {
            while self.ready().await < count {
                tokio::time::sleep(super::DEADLINE / 100).await;
            }
        };
        let in_time = tokio::time::timeout(3 * super::DEADLINE, wait).await;
        assert!(in_time.is_ok(), "{} of {count} pods are ready", self.ready().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_become_ready_with_few_writes_and_outlive_the_agent() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let api = Api::in_memory(Arc::clone(&clock));
    let transport =
        Counting { inner: api.transport(), pod_writes: AtomicUsize::new(0), others: Mutex::default() };
    let crowd = Crowd {
        root: tempfile::tempdir().expect("a directory"),
        transport: Arc::new(transport),
        runtime: SimulatedRuntime::new(Arc::clone(&clock)),
        network: Arc::default(),
        clock,
    };
    super::prepare(&crowd.client("test")).await;
    for number in 0..PODS {
        crowd.create(&format!("p-{number}")).await;
    }

    let (cancel, agent) = crowd.start_agent();
    let began = std::time::Instant::now();
    crowd.wait_until_ready(PODS).await;
    println!("{PODS} pods were ready after {:?}", began.elapsed());
    let running = crowd.running().await;
    assert_eq!(running.len(), PODS);
    let writes = crowd.pod_writes();
    assert!(writes <= PODS * WRITES_PER_POD_MAX, "{writes} writes for {PODS} pods");
    cancel.cancel();
    agent.await.expect("ends");

    // When a pod that came later is ready, the new agent has looked at all the others.
    let writes = crowd.pod_writes();
    let (cancel, agent) = crowd.start_agent();
    crowd.create("later").await;
    crowd.wait_until_ready(PODS + 1).await;
    let now = crowd.running().await;
    assert!(now.is_superset(&running) && now.len() == PODS + 1, "every container runs on");
    let more = crowd.pod_writes() - writes;
    assert!(more <= WRITES_PER_POD_MAX, "{more} writes, though only one pod is new");
    assert_eq!(*crowd.transport.others.lock().unwrap(), BTreeMap::new());
    cancel.cancel();
    agent.await.expect("ends");
}
