//! A thousand pods on one agent over the simulated runtime, in virtual time: whatever took a timer would show
//! as time gone by, and whatever is done without need as a call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::Api;
use async_trait::async_trait;
use client::transport::{Call, ListOptions, Reply, Target, Transport, Verb, Watch};
use client::{Client, Scope};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use model::clock::Clock;
use model::encoded::Revision;
use model::status::Status;
use node::{Agent, AgentConfig, Capacity};
use runtime::api::{ContainerId, ContainerState, Runtime};
use runtime::simulated::{SimulatedImages, SimulatedRuntime};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fake::FakeNetwork;

const PODS: usize = 1000;
/// Writes that the agent may need to bring one pod to Ready: it starts, and it is ready.
const WRITES_PER_POD_MAX: usize = 3;

/// A clock that follows the test's virtual time.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let began: Timestamp = "2026-01-01T00:00:00Z".parse().expect("valid");
        began.checked_add(self.0.elapsed()).expect("not that far")
    }
}

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

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_become_ready_without_a_timer_stay_still_and_outlive_the_agent() {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock(Instant::now()));
    let api = Api::in_memory(Arc::clone(&clock));
    let transport = Counting { inner: api.transport(), pod_writes: AtomicUsize::new(0), others: Mutex::default() };
    let crowd = Crowd {
        root: tempfile::tempdir().expect("a directory"),
        transport: Arc::new(transport),
        runtime: SimulatedRuntime::new(Arc::clone(&clock)),
        network: Arc::default(),
        clock,
    };
    let client = crowd.client("test");
    for name in ["default", "kube-node-lease"] {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        client.create(&namespace).await.expect("made");
    }
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("default".to_owned());
    account.metadata.namespace = Some("default".to_owned());
    client.create(&account).await.expect("made");
    for number in 0..PODS {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("p-{number}"), "namespace": "default"},
            "spec": {"nodeName": "node-a", "containers": [{"name": "c", "image": "busybox:1"}]},
        }))
        .expect("a pod");
        client.create(&pod).await.expect("made");
    }

    let began = Instant::now();
    let (cancel, agent) = crowd.start_agent();
    while crowd.ready().await < PODS {
        assert!(began.elapsed() < Duration::from_secs(60), "{} of {PODS} are ready", crowd.ready().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Virtual time passes only while everybody waits for a timer.
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?} of waiting", began.elapsed());
    let running = crowd.running().await;
    assert_eq!(running.len(), PODS);

    // What is still under way settles within moments; then an hour brings nothing.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes = crowd.pod_writes();
    assert!(writes <= PODS * WRITES_PER_POD_MAX, "{writes} writes for {PODS} pods");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(crowd.pod_writes(), writes, "nothing changed, so nothing is written");

    cancel.cancel();
    agent.await.expect("ends");
    let (cancel, agent) = crowd.start_agent();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(crowd.running().await, running, "every container runs on");
    assert_eq!(crowd.ready().await, PODS);
    assert_eq!(crowd.pod_writes(), writes, "a new agent finds what it would write");
    assert_eq!(*crowd.transport.others.lock().unwrap(), BTreeMap::new());
    cancel.cancel();
    agent.await.expect("ends");
}
