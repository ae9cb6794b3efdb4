//! What is measured, one function a command.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::{Api, Connection};
use crate::dns;

/// How often a port is tried; it bounds the error of what is measured.
const CONNECT_POLL: Duration = Duration::from_millis(1);
/// How often an object is looked at; small against seconds, and little work for the server.
const OBJECT_POLL: Duration = Duration::from_millis(10);
/// No measurement takes longer than this.
const LIMIT: Duration = Duration::from_secs(900);
const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";

fn unix_nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The first connection over which `/readyz` says ok.
async fn first_ready(api: &Api) -> Result<Connection> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let attempt = async {
            let mut connection = api.connect(&api.tls()?).await?;
            connection.call(Method::GET, "/readyz", Bytes::new()).await?;
            anyhow::Ok(connection)
        };
        match attempt.await {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() > deadline => return Err(error.context("the API never was ready")),
            Err(_) => tokio::time::sleep(CONNECT_POLL).await,
        }
    }
}

/// When `/readyz` said ok.
pub(crate) async fn ready(api: &Api) -> Result<Value> {
    first_ready(api).await?;
    Ok(json!({"at_unix_ns": unix_nanoseconds()}))
}

/// When the set was ready and the name resolved.
pub(crate) async fn wait(api: &Api, set: &str, replicas: u64, name: Option<&str>) -> Result<Value> {
    let mut connection = first_ready(api).await?;
    until_ready(&mut connection, set, replicas).await?;
    let set_ready = unix_nanoseconds();
    if let Some(name) = name {
        let server = dns_address(&mut connection).await?;
        let deadline = Instant::now() + LIMIT;
        while !dns::resolves(server, name).await.unwrap_or(false) {
            ensure!(Instant::now() < deadline, "{name} never resolved");
            tokio::time::sleep(CONNECT_POLL).await;
        }
    }
    Ok(json!({"set_ready_at_unix_ns": set_ready, "at_unix_ns": unix_nanoseconds()}))
}

/// The cluster's DNS address is the tenth of the range whose first is the API's.
async fn dns_address(connection: &mut Connection) -> Result<Ipv4Addr> {
    let service = connection.get("/api/v1/namespaces/default/services/kubernetes").await?;
    let first: Ipv4Addr = service["spec"]["clusterIP"].as_str().context("the API has no address")?.parse()?;
    Ok(Ipv4Addr::from(u32::from(first) + 9))
}

async fn until_ready(connection: &mut Connection, set: &str, replicas: u64) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        // The set may not be there yet.
        if let Ok(object) = connection.get(&format!("{SETS}/{set}")).await
            && object["status"]["readyReplicas"].as_u64() == Some(replicas)
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{set} was not ready in time");
        tokio::time::sleep(OBJECT_POLL).await;
    }
}

/// Durable creates a second, and how long one takes.
pub(crate) async fn create(api: &Api, clients: usize, seconds: u64) -> Result<Value> {
    first_ready(api).await?;
    let tls = api.tls()?;
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(api.connect(&tls).await?);
    }
    let started = Instant::now();
    let end = started + Duration::from_secs(seconds);
    let mut running = JoinSet::new();
    for (client, connection) in connections.into_iter().enumerate() {
        running.spawn(create_until(connection, client, end));
    }
    let mut latencies = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies.extend(done??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "nothing was created");
    let part = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    Ok(json!({
        "created": latencies.len(), "seconds": elapsed, "per_second": latencies.len() as f64 / elapsed,
        "p50_ms": part(50), "p99_ms": part(99),
    }))
}

async fn create_until(mut connection: Connection, client: usize, end: Instant) -> Result<Vec<Duration>> {
    // With its metadata the object is about 1 KiB.
    let filling = "x".repeat(900);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("load-{client}-{}", latencies.len())},
            "data": {"filling": filling},
        });
        let started = Instant::now();
        connection
            .call(Method::POST, "/api/v1/namespaces/default/configmaps", object.to_string().into())
            .await?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

/// Sets that are made to be measured.
pub(crate) struct Wanted {
    /// How many.
    pub(crate) sets: u64,
    /// Replicas of each.
    pub(crate) replicas: u64,
    /// `spec.podManagementPolicy`.
    pub(crate) policy: String,
    /// What their pods run.
    pub(crate) image: String,
}

impl Wanted {
    fn name(number: u64) -> String {
        format!("load-{number}")
    }

    async fn make(&self, connection: &mut Connection, number: u64) -> Result<()> {
        let name = Wanted::name(number);
        let container = json!({"name": "main", "image": self.image, "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "1000000"]});
        let labels = json!({"app": "load", "set": name});
        let object = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
            "spec": {
                "serviceName": name, "replicas": self.replicas, "podManagementPolicy": self.policy,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
                },
            },
        });
        connection.call(Method::POST, SETS, object.to_string().into()).await?;
        Ok(())
    }
}

/// How long sets take from their creation until all their pods are ready.
pub(crate) async fn sets(api: &Api, wanted: &Wanted) -> Result<Value> {
    let mut connection = first_ready(api).await?;
    let started = Instant::now();
    for number in 0..wanted.sets {
        wanted.make(&mut connection, number).await?;
    }
    for number in 0..wanted.sets {
        until_ready(&mut connection, &Wanted::name(number), wanted.replicas).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(json!({"seconds": seconds, "per_second": (wanted.sets * wanted.replicas) as f64 / seconds}))
}

/// What passes between two ordinals of one set.
pub(crate) async fn gaps(api: &Api, wanted: &Wanted) -> Result<Value> {
    let mut connection = first_ready(api).await?;
    let path = "/api/v1/namespaces/default/pods?watch=true&labelSelector=app%3Dload";
    let mut watch = api.connect(&api.tls()?).await?;
    let response = watch.send(Method::GET, path, Bytes::new()).await?;
    ensure!(response.status().is_success(), "the watch answered {}", response.status());
    wanted.make(&mut connection, 0).await?;
    let work = read_gaps(response, wanted.replicas);
    let gaps = tokio::time::timeout(LIMIT, work).await.context("the set was not ready in time")??;
    Ok(json!({"gaps_ms": gaps}))
}

/// Milliseconds between the event that shows one pod ready and the one that shows the next one's container
/// running, as a watcher sees them: an upper bound of what the control plane takes.
async fn read_gaps(mut response: http::Response<hyper::body::Incoming>, replicas: u64) -> Result<Vec<f64>> {
    let mut ready: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut running: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut buffer = Vec::new();
    while (ready.len() as u64) < replicas {
        let Some(frame) = response.frame().await else { bail!("the watch ended") };
        let now = Instant::now();
        if let Ok(data) = frame?.into_data() {
            buffer.extend_from_slice(&data);
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).context("read an event")?;
            let pod = &event["object"];
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let Some(ordinal) = name.rsplit('-').next().and_then(|text| text.parse().ok()) else { continue };
            if !pod["status"]["containerStatuses"][0]["state"]["running"].is_null() {
                running.entry(ordinal).or_insert(now);
            }
            let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
            if conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True") {
                ready.entry(ordinal).or_insert(now);
            }
        }
    }
    let pairs =
        ready.iter().filter_map(|(ordinal, at)| Some(running.get(&(ordinal + 1))?.duration_since(*at)));
    Ok(pairs.map(|gap| gap.as_secs_f64() * 1000.0).collect())
}
