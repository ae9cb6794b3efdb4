//! The agent over the real API in memory, a fake runtime and a fake network.

mod crowd;
mod fake;
mod images;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::Api;
use client::{Client, DeleteOptions, PatchKind, Scope};
use fake::{Fake, FakeNetwork, SystemClock};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, ServiceAccount};
use model::clock::Clock;
use node::{Agent, AgentConfig, Capacity};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(20);

struct Cluster {
    root: tempfile::TempDir,
    client: Client,
    runtime: Arc<Fake>,
    network: Arc<FakeNetwork>,
    clock: Arc<dyn Clock>,
    agent: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    running: Option<Arc<Agent>>,
}

/// Makes what controllers would have made before the first pod.
async fn prepare(client: &Client) {
    for name in ["default", "kube-node-lease"] {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        client.create(&namespace).await.expect("made");
    }
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("default".to_owned());
    account.metadata.namespace = Some("default".to_owned());
    client.create(&account).await.expect("made");
}

impl Cluster {
    async fn start() -> Cluster {
        Cluster::start_with(Arc::new(SystemClock)).await
    }

    async fn start_with(clock: Arc<dyn Clock>) -> Cluster {
        let api = Api::in_memory(Arc::clone(&clock));
        let client = Client::new(api.transport(), "kubelet");
        prepare(&client).await;
        let mut cluster = Cluster {
            root: tempfile::tempdir().expect("a directory"),
            client,
            runtime: Arc::new(Fake::new()),
            network: Arc::default(),
            clock,
            agent: None,
            running: None,
        };
        cluster.start_agent();
        cluster
    }

    fn start_agent(&mut self) {
        let config = AgentConfig {
            node_name: "node-a".to_owned(),
            root_dir: self.root.path().to_owned(),
            cluster_dns: vec!["10.96.0.10".parse().expect("valid")],
            cluster_domain: "cluster.local".to_owned(),
            pod_cidr: "10.42.0.0/24".to_owned(),
            node_ip: "192.0.2.7".parse().expect("valid"),
            capacity: Capacity {
                cpu_milli: 2000,
                memory_bytes: 4 << 30,
                ephemeral_storage_bytes: 10 << 30,
                pods: 110,
            },
            labels: BTreeMap::new(),
            version: "v1.37.0-test".to_owned(),
            machine: node::Machine::Real,
        };
        let agent = Arc::new(Agent::new(
            config,
            self.client.clone(),
            self.runtime.clone(),
            self.runtime.clone(),
            self.network.clone(),
            Vec::new(),
            Arc::clone(&self.clock),
        ));
        self.running = Some(Arc::clone(&agent));
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task = tokio::spawn(async move { agent.run(stop).await.expect("runs") });
        self.agent = Some((cancel, task));
    }

    async fn stop_agent(&mut self) {
        let (cancel, task) = self.agent.take().expect("runs");
        cancel.cancel();
        task.await.expect("ends");
    }

    async fn create(&self, name: &str, spec: Value) -> Arc<Pod> {
        let mut spec = spec;
        spec["nodeName"] = "node-a".into();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"}, "spec": spec,
        }))
        .expect("a pod");
        self.client.create(&pod).await.expect("made")
    }

    async fn delete(&self, name: &str, grace_seconds: Option<i64>) {
        let options = DeleteOptions { grace_period_seconds: grace_seconds, ..DeleteOptions::default() };
        self.client.delete::<Pod>("default", name, options).await.expect("deleted");
    }

    async fn wait(&self, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Arc<Pod> {
        let mut last = None;
        let wait = async {
            loop {
                if let Ok(pod) = self.client.get::<Pod>("default", name).await {
                    if holds(&pod) {
                        return pod;
                    }
                    last = Some(pod);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(pod) => pod,
            Err(_) => {
                panic!("waited for {name} to be {what}; it is {:#?}", last.map(|pod| pod.status.clone()))
            }
        }
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "waited for {what}");
    }

    async fn is_gone(&self, name: &str) -> bool {
        self.client.get::<Pod>("default", name).await.is_err_and(|status| status.is_not_found())
    }

    async fn events(&self) -> Vec<String> {
        let (events, _) = self.client.list::<Event>(&Scope::default()).await.expect("listed");
        events
            .iter()
            .map(|event| {
                format!(
                    "{} {}",
                    event.reason.as_deref().unwrap_or_default(),
                    event.message.as_deref().unwrap_or_default()
                )
            })
            .collect()
    }
}

fn condition(pod: &Pod, kind: &str) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.clone())
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").as_deref() == Some("True")
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn container(pod: &Pod, index: usize) -> Value {
    let status = serde_json::to_value(&pod.status).expect("encodes");
    status["containerStatuses"][index].clone()
}

fn waiting_reason(pod: &Pod) -> String {
    container(pod, 0)["state"]["waiting"]["reason"].as_str().unwrap_or_default().to_owned()
}

fn one(extra: Value) -> Value {
    let mut container = json!({"name": "c", "image": "busybox:1"});
    for (key, value) in extra.as_object().expect("an object") {
        container[key] = value.clone();
    }
    json!({"containers": [container]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_becomes_running_and_ready_with_its_environment_and_files() {
    let cluster = Cluster::start().await;
    let mut spec = one(json!({"env": [
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]}));
    spec["subdomain"] = "web".into();
    spec["hostname"] = "web-0".into();
    cluster.create("web-0", spec).await;
    let pod = cluster.wait("web-0", "ready", is_ready).await;
    assert_eq!(phase(&pod), "Running");
    let status = pod.status.clone().expect("a status");
    assert_eq!(status.pod_ip.as_deref(), Some("10.42.0.1"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.7"));
    let shown = container(&pod, 0);
    assert_eq!(shown["ready"], true);
    assert_eq!(shown["restartCount"], 0);
    assert_eq!(shown["imageID"], "busybox:1@sha256:bb");
    assert!(shown["containerID"].as_str().expect("text").starts_with("ordinal://"), "{shown}");
    let config = cluster.runtime.config("web-0", "c").expect("made");
    assert!(config.env.contains(&("ME".to_owned(), "web-0".to_owned())), "{:?}", config.env);
    assert!(config.env.contains(&("IP".to_owned(), "10.42.0.1".to_owned())), "{:?}", config.env);
    let hosts = config.mounts.iter().find(|mount| mount.container_path == "/etc/hosts").expect("mounted");
    let hosts = std::fs::read_to_string(&hosts.host_path).expect("read");
    assert!(hosts.contains("10.42.0.1\tweb-0.web.default.svc.cluster.local\tweb-0\n"), "{hosts}");
    cluster
        .until("the events", async || {
            let events = cluster.events().await;
            [
                "Pulled Container image \"busybox:1\" already present on machine",
                "Created Created container: c",
                "Started Started container c",
            ]
            .iter()
            .all(|wanted| events.iter().any(|event| event == wanted))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_is_registered_and_ready() {
    let cluster = Cluster::start().await;
    cluster
        .until("the node", async || {
            let node = cluster.client.get::<Node>("", "node-a").await;
            node.is_ok_and(|node| {
                let conditions = node.status.as_ref().and_then(|status| status.conditions.clone());
                conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
            })
        })
        .await;
    cluster
        .until("the lease", async || {
            cluster
                .client
                .get::<k8s_openapi::api::coordination::v1::Lease>("kube-node-lease", "node-a")
                .await
                .is_ok()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_readiness_probe_holds_readiness_back_until_it_passes() {
    let cluster = Cluster::start().await;
    cluster.runtime.set_exec_code(1);
    cluster.create("p", one(json!({"readinessProbe": {"exec": {"command": ["true"]}}}))).await;
    let pod = cluster.wait("p", "running", |pod| phase(pod) == "Running").await;
    assert!(!is_ready(&pod));
    let message = serde_json::to_value(&pod.status).expect("encodes")["conditions"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .expect("there")["message"]
        .clone();
    assert_eq!(message, "containers with unready status: [c]");
    cluster
        .until("the event", async || {
            cluster.events().await.iter().any(|event| event == "Unhealthy Readiness probe failed: said so")
        })
        .await;
    cluster.runtime.set_exec_code(0);
    cluster.wait("p", "ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_is_stopped_and_taken_down_before_its_object_goes() {
    let cluster = Cluster::start().await;
    cluster.create("p", one(json!({}))).await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.delete("p", None).await;
    cluster.until("the pod to go", async || cluster.is_gone("p").await).await;
    assert!(cluster.runtime.running().is_empty());
    assert_eq!((cluster.runtime.sandboxes(), cluster.network.attached()), (0, 0));
    assert_eq!(std::fs::read_dir(cluster.root.path().join("pod-data")).expect("read").count(), 0);
    assert_eq!(std::fs::read_dir(cluster.root.path().join("pods")).expect("read").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_the_same_name_waits_until_the_forced_out_one_is_down() {
    let cluster = Cluster::start().await;
    cluster.create("p", one(json!({}))).await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.runtime.set_stubborn();
    cluster.delete("p", Some(0)).await;
    cluster.create("p", one(json!({}))).await;
    cluster.wait("p", "ready", is_ready).await;
    let calls = cluster.runtime.calls();
    assert_eq!(calls, ["sandbox p", "start p/c/0", "remove p", "sandbox p", "start p/c/0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashing_container_restarts_at_once_and_then_waits() {
    let cluster = Cluster::start().await;
    cluster.create("p", one(json!({}))).await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.runtime.exit("p", "c", 3);
    cluster.wait("p", "restarted", |pod| container(pod, 0)["restartCount"] == 1 && is_ready(pod)).await;
    cluster.runtime.exit("p", "c", 4);
    let pod = cluster.wait("p", "waiting", |pod| waiting_reason(pod) == "CrashLoopBackOff").await;
    let shown = container(&pod, 0);
    assert_eq!(shown["lastState"]["terminated"]["exitCode"], 4);
    assert_eq!(shown["lastState"]["terminated"]["reason"], "Error");
    let message = shown["state"]["waiting"]["message"].as_str().expect("text");
    let uid = pod.metadata.uid.as_deref().expect("a uid");
    assert_eq!(message, format!("back-off 10s restarting failed container=c pod=p_default({uid})"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_like_pod_succeeds_and_keeps_its_status() {
    let cluster = Cluster::start().await;
    let mut spec = one(json!({}));
    spec["restartPolicy"] = "Never".into();
    cluster.create("p", spec).await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.runtime.exit("p", "c", 0);
    let pod = cluster.wait("p", "over", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(container(&pod, 0)["state"]["terminated"]["reason"], "Completed");
    cluster.until("the sandbox to go", async || cluster.runtime.sandboxes() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_config_map_is_waited_for_and_its_creation_wakes_the_pod() {
    let cluster = Cluster::start().await;
    let env = json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "a"}}}]});
    cluster.create("p", one(env)).await;
    let pod = cluster.wait("p", "waiting", |pod| waiting_reason(pod) == "CreateContainerConfigError").await;
    assert_eq!(container(&pod, 0)["state"]["waiting"]["message"], "configmap \"x\" not found");
    let map: ConfigMap = serde_json::from_value(
        json!({"metadata": {"name": "x", "namespace": "default"}, "data": {"a": "1"}}),
    )
    .expect("a map");
    cluster.client.create(&map).await.expect("made");
    cluster.wait("p", "ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_config_map_reaches_its_volume() {
    let cluster = Cluster::start().await;
    let map: ConfigMap = serde_json::from_value(
        json!({"metadata": {"name": "x", "namespace": "default"}, "data": {"a": "1"}}),
    )
    .expect("a map");
    cluster.client.create(&map).await.expect("made");
    let mut spec = one(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    spec["volumes"] = json!([{"name": "v", "configMap": {"name": "x"}}]);
    cluster.create("p", spec).await;
    cluster.wait("p", "ready", is_ready).await;
    let config = cluster.runtime.config("p", "c").expect("made");
    let mount = config.mounts.iter().find(|mount| mount.container_path == "/v").expect("mounted");
    assert!(mount.readonly);
    let file = mount.host_path.join("a");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "1");
    let patch = json!({"data": {"a": "2"}});
    cluster.client.patch::<ConfigMap>("default", "x", "", PatchKind::Merge, patch).await.expect("patched");
    cluster
        .until("the new content", async || std::fs::read_to_string(&file).is_ok_and(|text| text == "2"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_pull_backs_off_and_says_so() {
    let cluster = Cluster::start().await;
    cluster.runtime.lose_image("busybox:1");
    cluster.create("p", one(json!({}))).await;
    let pod = cluster.wait("p", "waiting", |pod| waiting_reason(pod) == "ImagePullBackOff").await;
    let message = container(&pod, 0)["state"]["waiting"]["message"].clone();
    assert_eq!(message, "Back-off pulling image \"busybox:1\": ErrImagePull: pull busybox:1: no such image");
    cluster
        .until("the events", async || {
            let events = cluster.events().await;
            [
                "Pulling Pulling image \"busybox:1\"",
                "Failed Error: ErrImagePull",
                "Failed Error: ImagePullBackOff",
            ]
            .iter()
            .all(|wanted| events.iter().any(|event| event == wanted))
        })
        .await;
    cluster.runtime.find_image("busybox:1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_does_not_wait_for_its_image() {
    let cluster = Cluster::start().await;
    cluster.runtime.lose_image("busybox:1");
    cluster.runtime.hang_pulls();
    cluster.create("p", one(json!({}))).await;
    cluster.until("the pull", async || cluster.runtime.pulls() == 1).await;
    cluster.delete("p", None).await;
    cluster.until("the pod to go", async || cluster.is_gone("p").await).await;
    assert_eq!((cluster.runtime.sandboxes(), cluster.network.attached()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_a_dead_agent_made_but_did_not_start_is_removed_at_once() {
    let mut cluster = Cluster::start().await;
    cluster.create("p", one(json!({}))).await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.stop_agent().await;
    cluster.runtime.leave_unstarted("p", "c");
    assert_eq!(cluster.runtime.unstarted(), 1);
    cluster.start_agent();
    cluster.until("the unstarted to go", async || cluster.runtime.unstarted() == 0).await;
    cluster.create("q", one(json!({}))).await;
    cluster.wait("q", "ready", is_ready).await;
    let pod = cluster.client.get::<Pod>("default", "p").await.expect("there");
    assert!(is_ready(&pod));
    assert_eq!(container(&pod, 0)["restartCount"], 0);
    assert_eq!(cluster.runtime.running(), ["p/c/0", "q/c/0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_run_one_after_the_other_before_the_rest() {
    let cluster = Cluster::start().await;
    let mut spec = one(json!({}));
    spec["initContainers"] = json!([
        {"name": "first", "image": "busybox:1"},
        {"name": "side", "image": "busybox:1", "restartPolicy": "Always"},
        {"name": "second", "image": "busybox:1"},
    ]);
    cluster.create("p", spec).await;
    cluster.until("the first", async || cluster.runtime.running() == ["p/first/0"]).await;
    cluster.runtime.exit("p", "first", 0);
    cluster.until("the second", async || cluster.runtime.running() == ["p/second/0", "p/side/0"]).await;
    cluster.runtime.exit("p", "second", 0);
    cluster.wait("p", "ready", is_ready).await;
    assert_eq!(cluster.runtime.running(), ["p/c/0", "p/side/0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_agent_finds_its_containers_and_disturbs_none() {
    let mut cluster = Cluster::start().await;
    cluster.create("p", one(json!({"readinessProbe": {"exec": {"command": ["true"]}}}))).await;
    cluster.create("q", one(json!({}))).await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.wait("q", "ready", is_ready).await;
    cluster.runtime.exit("p", "c", 1);
    let before =
        cluster.wait("p", "restarted", |pod| container(pod, 0)["restartCount"] == 1 && is_ready(pod)).await;
    cluster.stop_agent().await;
    let calls = cluster.runtime.calls();
    cluster.delete("q", Some(0)).await;
    cluster.start_agent();
    cluster.until("the orphan to go", async || cluster.runtime.running() == ["p/c/1"]).await;
    cluster.until("its sandbox to go", async || cluster.runtime.sandboxes() == 1).await;
    let after = cluster.client.get::<Pod>("default", "p").await.expect("there");
    assert!(is_ready(&after));
    assert_eq!(container(&before, 0)["containerID"], container(&after, 0)["containerID"]);
    assert_eq!(cluster.runtime.calls()[calls.len()..], ["remove q".to_owned()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liveness_probe_that_fails_restarts_the_container() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "p",
            one(json!({"livenessProbe": {
                "exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1,
            }})),
        )
        .await;
    cluster.wait("p", "ready", is_ready).await;
    cluster.runtime.set_exec_code(1);
    cluster.wait("p", "restarted", |pod| container(pod, 0)["restartCount"] == 1).await;
    cluster.runtime.set_exec_code(0);
    cluster
        .until("the event", async || {
            let wanted = "Killing Container c failed liveness probe, will be restarted";
            cluster.events().await.iter().any(|event| event == wanted)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_does_not_fit_is_refused() {
    let cluster = Cluster::start().await;
    cluster.create("p", one(json!({"resources": {"requests": {"cpu": "3"}}}))).await;
    let pod = cluster.wait("p", "refused", |pod| phase(pod) == "Failed").await;
    let status = pod.status.clone().expect("a status");
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    assert!(cluster.runtime.calls().is_empty());
}
