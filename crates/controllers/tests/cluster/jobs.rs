//! Jobs and CronJobs with the real API: counted pods, finalizers, what is left when a job goes.

use client::{Change, Propagation, Scope, reflect};
use futures::StreamExt;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Event, Pod};
use model::job;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::world::{Cluster, Found};

fn start(cluster: &mut Cluster) {
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::job::run(client, clock, ready, stop));
    cluster.run_garbage_collector();
}

/// Lets every pod end in this phase as soon as it is there.
pub(crate) fn end_pods(cluster: &Cluster, phase: &'static str) -> AbortHandle {
    let client = cluster.client.clone();
    let task = tokio::spawn(async move {
        let mut changes = reflect::<Pod>(client.clone(), Scope::default());
        while let Some(change) = changes.next().await {
            let pods = match change {
                Change::Reset(pods, _) => pods,
                Change::Apply(pod) => vec![pod],
                Change::Delete(_) => vec![],
            };
            for pod in pods.iter().filter(|pod| !model::pod::is_failed_or_succeeded(pod)) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let status = json!({ "status": { "phase": phase } });
                // It may be gone already.
                let _ =
                    client.patch::<Pod>("default", name, "status", client::PatchKind::Merge, status).await;
            }
        }
    });
    task.abort_handle()
}

fn manifest(spec: &Value) -> Value {
    let mut job = json!({
        "metadata": { "name": "sum", "namespace": "default" },
        "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "app", "image": "app:v1" }],
        } } },
    });
    model::patch::merge(&mut job["spec"], spec);
    job
}

fn holds(found: &Found<Job>, kind: &str) -> bool {
    found.get("default/sum").is_some_and(|one| job::condition(one, kind).is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexed_job_runs_to_its_end_counts_each_index_once_and_goes_after_its_time() {
    let mut cluster = Cluster::start().await;
    start(&mut cluster);
    let ends = end_pods(&cluster, "Succeeded");
    let spec = json!({
        "completionMode": "Indexed", "completions": 5, "parallelism": 2, "ttlSecondsAfterFinished": 3_600,
    });
    cluster.create::<Job>(manifest(&spec)).await;
    let jobs = cluster.until::<Job>("it is complete", |jobs| holds(jobs, "Complete")).await;
    let status = jobs["default/sum"].status.clone().unwrap_or_default();
    assert_eq!((status.succeeded, status.completed_indexes.as_deref()), (Some(5), Some("0-4")));
    let pods = cluster.list::<Pod>().await;
    let mut indexes: Vec<_> = pods.values().filter_map(|pod| job::completion_index(pod)).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    cluster.until::<Pod>("nobody waits", |pods| !pods.values().any(|pod| job::is_tracked(pod))).await;
    cluster
        .until::<Event>("its end is told", |events| {
            events.values().any(|event| event.reason.as_deref() == Some("Completed"))
        })
        .await;
    ends.abort();
    cluster.delete::<Job>("default", "sum", Propagation::Background).await;
    cluster.until::<Pod>("its pods go with it", |pods| pods.is_empty()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_over_goes_by_itself_with_its_pods() {
    let mut cluster = Cluster::start().await;
    start(&mut cluster);
    let ends = end_pods(&cluster, "Succeeded");
    cluster.create::<Job>(manifest(&json!({ "ttlSecondsAfterFinished": 0 }))).await;
    cluster.until::<Event>("it ran", |events| !events.is_empty()).await;
    cluster.until::<Job>("it is gone", |jobs| jobs.is_empty()).await;
    cluster.until::<Pod>("and its pod", |pods| pods.is_empty()).await;
    ends.abort();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_job_stops_at_its_limit_and_pods_of_a_deleted_job_are_let_go() {
    let mut cluster = Cluster::start().await;
    start(&mut cluster);
    let fails = end_pods(&cluster, "Failed");
    cluster.create::<Job>(manifest(&json!({ "backoffLimit": 0 }))).await;
    let jobs = cluster.until::<Job>("it has failed", |jobs| holds(jobs, "Failed")).await;
    let one = &jobs["default/sum"];
    assert_eq!(one.status.as_ref().and_then(|status| status.failed), Some(1));
    let failed = job::condition(one, "Failed").expect("was waited for");
    assert_eq!(failed.reason.as_deref(), Some("BackoffLimitExceeded"));
    assert!(job::condition(one, "FailureTarget").is_some());
    fails.abort();
    cluster.delete::<Job>("default", "sum", Propagation::Background).await;
    cluster.until::<Pod>("its pod goes", |pods| pods.is_empty()).await;
    cluster.create::<Job>(manifest(&json!({}))).await;
    let pods = cluster.until::<Pod>("it runs", |pods| pods.len() == 1).await;
    assert!(pods.values().all(|pod| job::is_tracked(pod)));
    cluster.delete::<Job>("default", "sum", Propagation::Orphan).await;
    cluster
        .until::<Pod>("its pod stays and waits for nobody", |pods| {
            pods.len() == 1
                && pods.values().all(|pod| {
                    !job::is_tracked(pod) && pod.metadata.owner_references.as_ref().is_none_or(Vec::is_empty)
                })
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cron_job_makes_a_job_for_each_moment_and_keeps_as_many_as_it_says() {
    let mut cluster = Cluster::start().await;
    start(&mut cluster);
    let (client, clock, ready, stop) = cluster.inputs();
    cluster.run(controllers::cron_job::run(client, clock, ready, stop));
    let ends = end_pods(&cluster, "Succeeded");
    let manifest = json!({
        "metadata": { "name": "tick", "namespace": "default" },
        "spec": {
            "schedule": "* * * * *", "successfulJobsHistoryLimit": 1,
            "jobTemplate": { "spec": manifest(&json!({}))["spec"] },
        },
    });
    cluster.create::<CronJob>(manifest).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        cluster.clock.skip(60);
        // Any change makes the controller look at the clock: it sleeps by that of the machine.
        let patch = json!({ "metadata": { "annotations": { "round": seen.len().to_string() } } });
        cluster.patch::<CronJob>("tick", "", patch).await;
        let jobs = cluster
            .until::<Job>("the job of a new moment is complete", |jobs| {
                jobs.iter()
                    .any(|(name, one)| !seen.contains(name) && job::condition(one, "Complete").is_some())
            })
            .await;
        seen.extend(jobs.into_keys());
    }
    cluster.until::<Job>("one is kept", |jobs| jobs.len() == 1).await;
    let found = cluster
        .until::<CronJob>("its list is empty", |found| {
            let status = found["default/tick"].status.clone().unwrap_or_default();
            status.active.is_none() && status.last_successful_time.is_some()
        })
        .await;
    assert!(found["default/tick"].status.as_ref().is_some_and(|status| status.last_schedule_time.is_some()));
    ends.abort();
    cluster.delete::<CronJob>("default", "tick", Propagation::Background).await;
    cluster.until::<Job>("its jobs go with it", |jobs| jobs.is_empty()).await;
    cluster.until::<Pod>("and their pods", |pods| pods.is_empty()).await;
    cluster.stop().await;
}
