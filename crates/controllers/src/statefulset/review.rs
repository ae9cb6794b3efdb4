//! Answers what a change of a set would do: reads what the plan looks at, and carries the plan out on that.
//!
//! It must write nothing. Forecasts are long sums: they run beside the tasks of the cluster, a few at a time.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use client::review::{Change, Forecaster};
use client::{Client, Scope};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use model::clock::Clock;
use model::stateful_set::ExtendedStatefulSet;
use model::status::Status;
use model::{meta, ordinal};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::forecast::{Picture, forecast};

/// Forecasts at once. One keeps a core busy for as long as a second for the largest sets; the cluster itself
/// must go on. Those that wait are requests in flight, which the API server bounds.
const FORECASTS_MAX: usize = 1;

/// Tells what sets would do.
pub struct Reviewer {
    client: Client,
    clock: Arc<dyn Clock>,
    turns: Arc<Semaphore>,
}

/// Everything of a namespace that a plan looks at, and the storage classes.
pub type Surroundings =
    (Vec<Arc<Pod>>, Vec<Arc<PersistentVolumeClaim>>, Vec<Arc<ControllerRevision>>, Vec<Arc<StorageClass>>);

/// Reads what a plan looks at.
///
/// # Errors
/// The API could not be read.
pub async fn surroundings(client: &Client, namespace: &str) -> Result<Surroundings, Status> {
    let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
    let (pods, _) = client.list::<Pod>(&scope).await?;
    let (claims, _) = client.list::<PersistentVolumeClaim>(&scope).await?;
    let (revisions, _) = client.list::<ControllerRevision>(&scope).await?;
    let (classes, _) = client.list::<StorageClass>(&Scope::default()).await?;
    Ok((pods, claims, revisions, classes))
}

impl Reviewer {
    /// One that reads through `client`.
    pub fn new(client: &Client, clock: Arc<dyn Clock>) -> Reviewer {
        let client = client.named("statefulset-review");
        Reviewer { client, clock, turns: Arc::new(Semaphore::new(FORECASTS_MAX)) }
    }

    async fn write(&self, set: Value, is_new: bool) -> Result<Value, Status> {
        let set: ExtendedStatefulSet = decode(set)?;
        let namespace = set.set.metadata.namespace.clone().unwrap_or_default();
        let (pods, claims, revisions, classes) = surroundings(&self.client, &namespace).await?;
        let picture = Picture { set, pods, claims, revisions, classes: Some(classes) };
        let now = self.clock.now();
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Status::internal)?;
        // The turn is over when the sum is, and not when nobody waits for it any more.
        let forecast = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            forecast(picture, now)
        });
        let forecast = forecast.await.map_err(Status::internal)?;
        let mut forecast = serde_json::to_value(forecast).map_err(Status::internal)?;
        forecast["isNew"] = is_new.into();
        Ok(json!({ "forecast": forecast }))
    }

    async fn deletion(&self, set: Value) -> Result<Value, Status> {
        let set: StatefulSet = decode(set)?;
        let namespace = set.metadata.namespace.clone().unwrap_or_default();
        let (pods, claims, ..) = surroundings(&self.client, &namespace).await?;
        Ok(json!({ "deletion": deletion(&set, &pods, &claims) }))
    }
}

#[async_trait]
impl Forecaster for Reviewer {
    async fn forecast(&self, change: Change) -> Result<Value, Status> {
        match change {
            Change::Write { set, is_new } => self.write(set, is_new).await,
            Change::Delete { set } => self.deletion(set).await,
        }
    }
}

fn decode<K: DeserializeOwned>(set: Value) -> Result<K, Status> {
    serde_json::from_value(set).map_err(|error| Status::internal(format!("read the set: {error}")))
}

/// What goes with a set, the highest ordinal first, and what stays.
fn deletion(set: &StatefulSet, pods: &[Arc<Pod>], claims: &[Arc<PersistentVolumeClaim>]) -> Value {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let own: Vec<&Arc<Pod>> = pods.iter().filter(|pod| meta::is_controlled_by(&pod.metadata, uid)).collect();
    // What is owned by the set, or by a pod that goes with it.
    let going: HashSet<&str> =
        own.iter().filter_map(|pod| pod.metadata.uid.as_deref()).chain([uid]).collect();
    let mut pods: Vec<(i32, &str)> = own
        .iter()
        .filter_map(|pod| pod.metadata.name.as_deref())
        .map(|name| (ordinal::parse(name).map_or(-1, |(_, ordinal)| ordinal), name))
        .collect();
    pods.sort_unstable();
    let pods: Vec<&str> = pods.into_iter().rev().map(|(_, name)| name).collect();
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let stems: Vec<String> = templates
        .map(|claim| format!("{}-{set_name}", claim.metadata.name.as_deref().unwrap_or_default()))
        .collect();
    let of_set = claims.iter().filter(|claim| {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        ordinal::parse(name).is_some_and(|(stem, _)| stems.iter().any(|one| one == stem))
    });
    let (deleted, kept): (Vec<_>, Vec<_>) = of_set.partition(|claim| {
        let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
        !owners.is_empty() && owners.iter().all(|owner| going.contains(owner.uid.as_str()))
    });
    let names = |claims: Vec<&Arc<PersistentVolumeClaim>>| {
        claims.into_iter().filter_map(|claim| claim.metadata.name.clone()).collect::<Vec<_>>()
    };
    json!({ "pods": pods, "claimsDeleted": names(deleted), "claimsKept": names(kept) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<K: DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).expect("is an object")
    }

    #[test]
    fn a_claim_goes_with_the_set_or_with_a_pod_that_does() {
        let owner =
            |kind: &str, uid: &str| json!({"apiVersion": "v1", "kind": kind, "name": "x", "uid": uid});
        let set: StatefulSet = read(json!({
            "metadata": {"name": "w", "uid": "set"},
            "spec": {
                "serviceName": "w", "selector": {}, "template": {},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            },
        }));
        let mut controller = owner("StatefulSet", "set");
        controller["controller"] = true.into();
        let pod = |name: &str, uid: &str| {
            let metadata = json!({"name": name, "uid": uid, "ownerReferences": [controller]});
            Arc::new(read::<Pod>(json!({"metadata": metadata})))
        };
        let claim = |name: &str, owners: &[Value]| {
            let metadata = json!({"name": name, "ownerReferences": owners});
            Arc::new(read::<PersistentVolumeClaim>(json!({"metadata": metadata})))
        };
        let claims = [
            claim("data-w-0", &[owner("StatefulSet", "set")]),
            claim("data-w-1", &[owner("Pod", "one")]),
            claim("data-w-2", &[]),
            claim("data-w-3", &[owner("StatefulSet", "set"), owner("Pod", "of another set")]),
            claim("other-w-0", &[owner("StatefulSet", "set")]),
        ];
        let found = deletion(&set, &[pod("w-0", "zero"), pod("w-1", "one")], &claims);
        assert_eq!(found["pods"], json!(["w-1", "w-0"]));
        assert_eq!(found["claimsDeleted"], json!(["data-w-0", "data-w-1"]));
        assert_eq!(found["claimsKept"], json!(["data-w-2", "data-w-3"]));
    }
}
