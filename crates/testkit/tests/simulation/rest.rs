//! What a cluster must be like once nothing goes wrong any more: as its specs say, and still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use client::{Client, Scope, Typed};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::encoded::Revision;
use model::{meta, ordinal, pod};

use crate::machine::Ledger;
use crate::safety::VERSION;

/// What was written last, the signs of life of nodes aside.
#[derive(Default)]
pub(crate) struct Stillness(Mutex<(Revision, String)>);

impl Stillness {
    pub(crate) fn see(&self, key: &str, revision: Revision) {
        let is_sign_of_life = key.starts_with("/registry/leases/") || key.starts_with("/registry/minions/");
        if !is_sign_of_life {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (revision, key.to_owned());
        }
    }

    pub(crate) fn newest(&self) -> Revision {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(crate) fn newest_key(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// Everything that there is, at one moment.
struct Found {
    sets: Vec<std::sync::Arc<StatefulSet>>,
    pods: BTreeMap<String, std::sync::Arc<Pod>>,
    claims: BTreeMap<String, std::sync::Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, std::sync::Arc<PersistentVolume>>,
    slices: Vec<std::sync::Arc<EndpointSlice>>,
}

async fn by_name<K: Typed>(client: &Client) -> BTreeMap<String, std::sync::Arc<K>> {
    let (objects, _) = client.list::<K>(&Scope::default()).await.expect("the server answers");
    let named = objects.into_iter().map(|object| (name_of(object.metadata()), object));
    named.collect()
}

fn name_of(metadata: &ObjectMeta) -> String {
    metadata.name.clone().unwrap_or_default()
}

/// What is not as it should be; `None` when all is.
pub(crate) async fn unsettled(client: &Client, ledger: &Ledger) -> Option<String> {
    let found = Found {
        sets: by_name::<StatefulSet>(client).await.into_values().collect(),
        pods: by_name(client).await,
        claims: by_name(client).await,
        volumes: by_name(client).await,
        slices: by_name::<EndpointSlice>(client).await.into_values().collect(),
    };
    let sets = found.sets.iter().find_map(|set| found.set(set));
    sets.or_else(|| found.leftovers()).or_else(|| found.machines(ledger)).or_else(|| found.endpoints())
}

impl Found {
    fn set(&self, set: &StatefulSet) -> Option<String> {
        let name = name_of(&set.metadata);
        if meta::is_terminating(&set.metadata) {
            return Some(format!("set {name} is still being deleted"));
        }
        let replicas = set.spec.replicas.unwrap_or(1);
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let owned = self.pods.values().filter(|pod| meta::is_controlled_by(&pod.metadata, uid));
        let have: BTreeSet<String> = owned.map(|pod| name_of(&pod.metadata)).collect();
        let want: BTreeSet<String> = (0..replicas).map(|number| ordinal::pod_name(&name, number)).collect();
        if have != want {
            return Some(format!("set {name} has {have:?} and wants {want:?}"));
        }
        (0..replicas)
            .find_map(|number| self.member(set, &name, number))
            .or_else(|| status(set, &name, replicas))
    }

    fn member(&self, set: &StatefulSet, set_name: &str, number: i32) -> Option<String> {
        let name = ordinal::pod_name(set_name, number);
        let pod = &self.pods[&name];
        if meta::is_terminating(&pod.metadata) {
            return Some(format!("pod {name} is still being deleted"));
        }
        if !pod::is_running_and_ready(pod) {
            let status = serde_json::to_string(&pod.status).unwrap_or_default();
            return Some(format!("pod {name} is not ready: {status}"));
        }
        let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or_default();
        let wanted = set.spec.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
        let version = |labels: Option<&BTreeMap<String, String>>| labels?.get(VERSION).cloned();
        if number >= partition && version(pod.metadata.labels.as_ref()) != version(wanted) {
            return Some(format!("pod {name} is not up to date"));
        }
        let templates = set.spec.volume_claim_templates.iter().flatten();
        templates
            .map(|template| ordinal::claim_name(&name_of(&template.metadata), set_name, number))
            .find_map(|claim_name| {
                let Some(claim) = self.claims.get(&claim_name) else {
                    return Some(format!("pod {name} has no claim {claim_name}"));
                };
                let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
                let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_ref());
                let volume = volume.and_then(|volume| self.volumes.get(volume));
                let claimed = volume.and_then(|volume| volume.spec.as_ref()?.claim_ref.as_ref()?.uid.clone());
                (phase != Some("Bound") || claimed != claim.metadata.uid)
                    .then(|| format!("claim {claim_name} is not bound"))
            })
    }

    /// What is still going, or should be gone.
    fn leftovers(&self) -> Option<String> {
        let sets = self.sets.iter().map(|set| &set.metadata);
        let all = sets.chain(self.pods.values().map(|pod| &pod.metadata));
        let uids: BTreeSet<&String> = all.filter_map(|metadata| metadata.uid.as_ref()).collect();
        let used: BTreeSet<String> = self.used_claims().collect();
        let of_pods = self.pods.values().map(|pod| &pod.metadata);
        let of_claims = self.claims.values().map(|claim| &claim.metadata);
        let lost = of_pods.chain(of_claims).find(|metadata| {
            let owners = metadata.owner_references.as_deref().unwrap_or_default();
            let is_orphan = !owners.is_empty() && owners.iter().all(|owner| !uids.contains(&owner.uid));
            // A claim that is deleted while a pod uses it waits for that pod.
            is_orphan || (meta::is_terminating(metadata) && !used.contains(&name_of(metadata)))
        });
        if let Some(lost) = lost {
            return Some(format!("{} should be gone", name_of(lost)));
        }
        let released = self.volumes.values().find(|volume| {
            volume.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound")
        });
        released.map(|volume| format!("volume {} is bound to nobody", name_of(&volume.metadata)))
    }

    fn used_claims(&self) -> impl Iterator<Item = String> {
        let specs = self.pods.values().filter_map(|pod| pod.spec.as_ref());
        let volumes = specs.flat_map(|spec| spec.volumes.iter().flatten());
        volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
    }

    /// What runs is what should run.
    fn machines(&self, ledger: &Ledger) -> Option<String> {
        let running = ledger.running();
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let wanted: BTreeMap<String, BTreeSet<String>> =
            self.pods.iter().map(|(name, pod)| (name.clone(), BTreeSet::from([uid(pod)]))).collect();
        if running != wanted {
            return Some(format!("{running:?} run, and {wanted:?} should"));
        }
        let volumes = self.used_claims().filter_map(|claim| {
            let claim = self.claims.get(&claim)?;
            let volume = self.volumes.get(claim.spec.as_ref()?.volume_name.as_ref()?)?;
            Some(volume.spec.as_ref()?.csi.as_ref()?.volume_handle.clone())
        });
        let (published, wanted) = (ledger.published(), volumes.collect::<BTreeSet<_>>());
        (published != wanted).then(|| format!("{published:?} are mounted, and {wanted:?} should"))
    }

    /// Services lead to their ready pods.
    fn endpoints(&self) -> Option<String> {
        for set in &self.sets {
            let name = name_of(&set.metadata);
            let selects = |labels: Option<&BTreeMap<String, String>>, key: &str| {
                labels.and_then(|labels| labels.get(key)) == Some(&name)
            };
            let pods = self.pods.values().filter(|pod| selects(pod.metadata.labels.as_ref(), "app"));
            let addresses = pods.filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
            let wanted: BTreeSet<String> = addresses.collect();
            let slices = self.slices.iter();
            let told: BTreeSet<String> = slices
                .filter(|slice| selects(slice.metadata.labels.as_ref(), "kubernetes.io/service-name"))
                .flat_map(|slice| slice.endpoints.iter().flatten())
                .flat_map(|endpoint| endpoint.addresses.clone())
                .collect();
            if told != wanted {
                return Some(format!("service {name} leads to {told:?} and should lead to {wanted:?}"));
            }
        }
        None
    }
}

fn status(set: &StatefulSet, name: &str, replicas: i32) -> Option<String> {
    let status = set.status.clone().unwrap_or_default();
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let is_whole = rolling.and_then(|rolling| rolling.partition).unwrap_or_default() == 0;
    let is_counted = status.replicas == replicas && status.ready_replicas.unwrap_or_default() == replicas;
    let is_seen = status.observed_generation == set.metadata.generation;
    let is_rolled_out = !is_whole || status.current_revision == status.update_revision;
    (!is_counted || !is_seen || !is_rolled_out)
        .then(|| format!("the status of set {name} is behind: {status:?}"))
}
