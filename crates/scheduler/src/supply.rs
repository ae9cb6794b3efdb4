//! What could satisfy a claim that waits for its first consumer: free volumes, by node, and a provisioner.
//!
//! It is gathered once a decision, so that a node costs what is there for it and not what is there at all:
//! most volumes of this kind belong to one node, and say so by its hostname.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use model::volume;
use reconcile::runner::ObjectKey;

use crate::selection;
use crate::view::View;

const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// The provisioner of classes whose volumes are all made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What could satisfy one claim.
#[derive(Debug)]
pub(crate) struct Supply {
    claim: Arc<PersistentVolumeClaim>,
    key: ObjectKey,
    class: Option<Arc<StorageClass>>,
    /// Free volumes that fit and are for nodes of one hostname.
    by_hostname: HashMap<String, Vec<Arc<PersistentVolume>>>,
    /// The other free volumes that fit.
    elsewhere: Vec<Arc<PersistentVolume>>,
}

/// Where a claim's volume comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A volume that is there.
    Volume(Arc<PersistentVolume>),
    /// The class's provisioner.
    Provisioner,
}

impl Supply {
    /// What could satisfy a claim, wherever.
    pub(crate) fn of(view: &View, key: ObjectKey, claim: &Arc<PersistentVolumeClaim>) -> Supply {
        let class = view.class(volume::claim_class(claim)).cloned();
        let mut by_hostname: HashMap<String, Vec<Arc<PersistentVolume>>> = HashMap::new();
        let mut elsewhere = Vec::new();
        for free in view.free_volumes(claim, &key) {
            match hostnames(free) {
                Some(names) => {
                    for name in names {
                        by_hostname.entry(name.clone()).or_default().push(Arc::clone(free));
                    }
                }
                None => elsewhere.push(Arc::clone(free)),
            }
        }
        Supply { claim: Arc::clone(claim), key, class, by_hostname, elsewhere }
    }

    /// Bytes that the claim asks for.
    pub(crate) fn requested_bytes(&self) -> i64 {
        volume::requested_bytes(&self.claim)
    }

    /// The smallest volume that can be used on a node and is not among `taken`; of equal ones the first by
    /// name.
    fn smallest(&self, node: &Node, taken: &[Arc<PersistentVolume>]) -> Option<&Arc<PersistentVolume>> {
        let (labels, name) = (selection::labels(node), selection::name(node));
        let here = labels.get(HOSTNAME_LABEL).and_then(|hostname| self.by_hostname.get(hostname));
        here.into_iter()
            .flatten()
            .chain(&self.elsewhere)
            .filter(|one| volume::reaches(one, labels, name))
            .filter(|one| taken.iter().all(|other| other.metadata.name != one.metadata.name))
            .min_by_key(|one| (volume::capacity_bytes(one), one.metadata.name.clone()))
    }

    /// True when the class's provisioner can make a volume for a node.
    fn is_provisioned_on(&self, node: &Node) -> bool {
        let Some(class) = &self.class else { return false };
        let labels = selection::labels(node);
        let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
        let allows = |term: &k8s_openapi::api::core::v1::TopologySelectorTerm| {
            let mut all = term.match_label_expressions.iter().flatten();
            all.all(|one| labels.get(&one.key).is_some_and(|value| one.values.contains(value)))
        };
        class.provisioner != NO_PROVISIONER && (topologies.is_empty() || topologies.iter().any(allows))
    }
}

/// Where each claim's volume comes from on a node; `None` when one has no source there. A volume goes to one
/// claim only, and claims come in the order of their size, so that a small one does not take what a large
/// one needs.
pub(crate) fn sources(open: &[Supply], node: &Node) -> Option<Vec<(ObjectKey, Source)>> {
    let mut taken = Vec::new();
    let source = |supply: &Supply| {
        let source = match supply.smallest(node, &taken) {
            Some(volume) => {
                taken.push(Arc::clone(volume));
                Source::Volume(Arc::clone(volume))
            }
            None if supply.is_provisioned_on(node) => Source::Provisioner,
            None => return None,
        };
        Some((supply.key.clone(), source))
    };
    open.iter().map(source).collect()
}

/// The hostnames that a volume is for, if it is for nothing else.
fn hostnames(volume: &PersistentVolume) -> Option<&Vec<String>> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?;
    let [term] = affinity.required.as_ref()?.node_selector_terms.as_slice() else { return None };
    let mut expressions = term.match_expressions.iter().flatten();
    expressions.find(|one| one.key == HOSTNAME_LABEL && one.operator == "In")?.values.as_ref()
}

/// Free volumes by class and size, as the view keeps them.
#[derive(Debug, Default)]
pub(crate) struct Free(BTreeMap<String, BTreeMap<(i64, String), Arc<PersistentVolume>>>);

impl Free {
    /// Takes a volume in, if it is free.
    pub(crate) fn put(&mut self, volume: &Arc<PersistentVolume>) {
        if volume::is_free(volume) {
            let class = self.0.entry(volume::volume_class(volume).to_owned()).or_default();
            class.insert(place(volume), Arc::clone(volume));
        }
    }

    /// Takes a volume out, by the version that was put in.
    pub(crate) fn take_out(&mut self, volume: &PersistentVolume) {
        let class = volume::volume_class(volume);
        if let Some(all) = self.0.get_mut(class) {
            all.remove(&place(volume));
            if all.is_empty() {
                self.0.remove(class);
            }
        }
    }

    /// Those of a claim's class that are large enough, the smallest first.
    pub(crate) fn for_claim(
        &self,
        claim: &PersistentVolumeClaim,
    ) -> impl Iterator<Item = &Arc<PersistentVolume>> {
        let least = (volume::requested_bytes(claim), String::new());
        let class = self.0.get(volume::claim_class(claim));
        class.into_iter().flat_map(move |all| all.range(least.clone()..)).map(|(_, volume)| volume)
    }
}

fn place(volume: &PersistentVolume) -> (i64, String) {
    (volume::capacity_bytes(volume), volume.metadata.name.clone().unwrap_or_default())
}
