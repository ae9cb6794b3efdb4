//! `ordinal status`: the ordinal table.
//!
//! One row an ordinal: its pod, whether it is at the new or the old revision, its claim, where it runs, its
//! name in DNS, since when it is ready.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use client::{Client, Scope};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model::clock::Clock;
use model::stateful_set::{ExtendedStatefulSet, Ordinals};
use model::{duration, ordinal, pod};
use serde_json::json;

use crate::cli::StatusArguments;
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::output;
use crate::remote::Remote;

const HEADER: [&str; 10] =
    ["ORDINAL", "POD", "READY", "STATUS", "RESTARTS", "REVISION", "CLAIM", "SIZE", "ADDRESS", "AGE"];

/// Carries the command out.
pub(crate) async fn run(arguments: &StatusArguments) -> Result<()> {
    let data_dir = DataDir::find(&arguments.data_dir)?;
    let client = Client::new(Arc::new(Remote::connect(&data_dir)?), "ordinal");
    let name = match arguments.set.as_deref().map(|text| text.rsplit_once('/').unwrap_or(("sts", text))) {
        None => None,
        Some(("sts" | "statefulset" | "statefulsets" | "statefulset.apps" | "statefulsets.apps", name)) => {
            Some(name)
        }
        Some((kind, _)) => bail!("{kind} has no ordinals; name a set as sts/NAME"),
    };
    let namespace = match (&arguments.namespace, name) {
        (Some(namespace), _) => namespace.clone(),
        (None, Some(_)) => "default".to_owned(),
        (None, None) => String::new(),
    };
    let text = tables(&client, &namespace, name, SystemClock::default().now()).await?;
    output::line(text);
    Ok(())
}

/// The tables of the sets in a namespace (of all when it is empty), or of one set.
pub(crate) async fn tables(
    client: &Client,
    namespace: &str,
    name: Option<&str>,
    now: Timestamp,
) -> Result<String> {
    let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
    let sets = match name {
        Some(name) => vec![client.get::<ExtendedStatefulSet>(namespace, name).await?],
        None => client.list::<ExtendedStatefulSet>(&scope).await.context("list StatefulSets")?.0,
    };
    if sets.is_empty() {
        return Ok("no StatefulSets".to_owned());
    }
    let (pods, _) = client.list::<Pod>(&scope).await.context("list Pods")?;
    let (claims, _) = client.list::<PersistentVolumeClaim>(&scope).await.context("list claims")?;
    let tables: Vec<String> = sets.iter().map(|set| table(set, &pods, &claims, now)).collect();
    Ok(tables.join("\n\n"))
}

fn table(
    extended: &ExtendedStatefulSet,
    pods: &[Arc<Pod>],
    claims: &[Arc<PersistentVolumeClaim>],
    now: Timestamp,
) -> String {
    let set = &extended.set;
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let mut owned: BTreeMap<i32, &Pod> = pods
        .iter()
        .filter(|pod| model::meta::is_controlled_by(&pod.metadata, uid))
        .filter_map(|pod| {
            let (_, ordinal) = ordinal::parse(pod.metadata.name.as_deref()?)?;
            Some((ordinal, &**pod))
        })
        .collect();
    let spec = set.spec.clone();
    let reserved = extended.extra.as_ref().map(|extra| extra.reserved.clone()).unwrap_or_default();
    let wanted = Ordinals::of(set, &reserved);
    let mut ordinals: Vec<i32> = owned.keys().copied().chain(wanted.iter()).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    let rows: Vec<Vec<String>> =
        ordinals.into_iter().map(|ordinal| row(set, ordinal, owned.remove(&ordinal), claims, now)).collect();
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let status = set.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or(0);
    let service = spec.service_name.as_deref().unwrap_or("<none>");
    format!(
        "{namespace}/{name}: {ready} of {} ready, names under {service}.{namespace}.svc.cluster.local\n{}",
        spec.replicas.unwrap_or(1),
        output::table(&HEADER, &rows)
    )
}

fn row(
    set: &StatefulSet,
    ordinal: i32,
    pod: Option<&Pod>,
    claims: &[Arc<PersistentVolumeClaim>],
    now: Timestamp,
) -> Vec<String> {
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let claim = claim_of(set, ordinal, claims);
    let (claim_name, size) = match claim {
        Some((name, size)) => (name, size),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let Some(pod) = pod else {
        let mut cells = vec![ordinal.to_string(), ordinal::pod_name(name, ordinal)];
        cells.extend(["-", "Absent", "-", "-"].map(str::to_owned));
        cells.extend([claim_name, size, "-".to_owned(), "-".to_owned()]);
        return cells;
    };
    let status = pod.status.clone().unwrap_or_default();
    let restarts: i32 = status.container_statuses.iter().flatten().map(|one| one.restart_count).sum();
    let ready = match pod::ready_since(pod) {
        Some(since) if pod::is_ready(pod) => duration::human(duration::seconds_between(since, now)),
        _ => "no".to_owned(),
    };
    let age = pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or_else(|| "-".to_owned(), |created| duration::human(duration::seconds_between(created.0, now)));
    vec![
        ordinal.to_string(),
        pod.metadata.name.clone().unwrap_or_default(),
        ready,
        apiserver::kinds::pod_status(&json!(pod)),
        restarts.to_string(),
        revision(set, pod),
        claim_name,
        size,
        status.pod_ip.unwrap_or_else(|| "-".to_owned()),
        age,
    ]
}

/// `current`, `update` or `old`: where the pod stands in a rollout.
fn revision(set: &StatefulSet, pod: &Pod) -> String {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get("controller-revision-hash"));
    let status = set.status.as_ref();
    let update = status.and_then(|status| status.update_revision.as_ref());
    let current = status.and_then(|status| status.current_revision.as_ref());
    let text = match label {
        None => "-",
        label if label == update && label == current => "current",
        label if label == update => "update",
        label if label == current => "current",
        Some(_) => "old",
    };
    text.to_owned()
}

fn claim_of(
    set: &StatefulSet,
    ordinal: i32,
    claims: &[Arc<PersistentVolumeClaim>],
) -> Option<(String, String)> {
    let spec = &set.spec;
    let template = spec.volume_claim_templates.iter().flatten().next()?.metadata.name.as_deref()?;
    let name = ordinal::claim_name(template, set.metadata.name.as_deref()?, ordinal);
    let claim = claims.iter().find(|claim| {
        claim.metadata.name.as_deref() == Some(name.as_str())
            && claim.metadata.namespace == set.metadata.namespace
    });
    let capacity = claim.and_then(|claim| {
        let capacity = claim.status.as_ref()?.capacity.as_ref()?;
        Some(capacity.get("storage")?.0.clone())
    });
    claim.map(|_| (name, capacity.unwrap_or_else(|| "unbound".to_owned())))
}
