//! New volumes for claims that no volume fits: who makes them, what is asked for, what object stands for it.
//!
//! The driver's volume and its object are both named after the claim's uid, so that a try that a crash cut
//! off is taken up again by the next one. The claim is first marked with its provisioner, which also
//! shows past every view that it still is as it was decided about.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::quantity::{Format, Quantity};
use storage::driver::{CreateVolume, Volume};

use super::matching;
use super::plan::{Plan, Provision, Step};
use super::view::View;
use super::{
    PROVISIONED_BY, SELECTED_NODE, STORAGE_PROVISIONER, STORAGE_PROVISIONER_BETA, VOLUME_PROTECTION,
};
use reconcile::recorder::{EventKind, reference_to};

/// The prefix of provisioners that are part of Kubernetes itself; there are none here.
const IN_TREE: &str = "kubernetes.io/";
/// The prefix of the names of volumes that are made here; a claim's uid follows.
pub const NAME_PREFIX: &str = "pvc-";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// Adds to a plan what gets a claim a new volume.
pub fn plan(
    view: &View,
    claim: &PersistentVolumeClaim,
    class_name: &str,
    class: Option<&StorageClass>,
    node: Option<&str>,
    plan: &mut Plan,
) {
    let about = reference_to(claim);
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io \"{class_name}\" not found");
        plan.tell(about, EventKind::Warning, "ProvisioningFailed", message);
        return;
    };
    let provisioner = class.provisioner.as_str();
    if provisioner.starts_with(IN_TREE) {
        let message = format!("no volume plugin matched name: {provisioner}");
        plan.tell(about, EventKind::Warning, "ProvisioningFailed", message);
        return;
    }
    let marked = mark(claim, provisioner);
    if !view.has_driver(provisioner) {
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or \
             manually by the system administrator. If volume creation is delayed, please verify that the \
             provisioner is running and correctly registered."
        );
        plan.tell(about, EventKind::Normal, "ExternalProvisioning", message);
        if marked != *claim {
            plan.steps.push(Step::Claim(Box::new(marked)));
        }
        return;
    }
    if let Some(why) = unsupported(claim) {
        let message = format!("failed to provision volume with StorageClass \"{class_name}\": {why}");
        plan.tell(about, EventKind::Warning, "ProvisioningFailed", message);
        return;
    }
    let name = volume_name(claim);
    if view.volume(&name).is_some() {
        // It is on its way out, or somebody else's; its end is heard of.
        return;
    }
    let message = format!(
        "External provisioner is provisioning volume for claim \"{}\"",
        reconcile::runner::ObjectKey::of(claim)
    );
    plan.tell(about.clone(), EventKind::Normal, "Provisioning", message);
    if marked != *claim {
        plan.steps.push(Step::Claim(Box::new(marked.clone())));
    }
    let request = CreateVolume {
        name: name.clone(),
        capacity_bytes: u64::try_from(matching::requested_bytes(claim)).unwrap_or_default(),
        parameters: class.parameters.clone().unwrap_or_default(),
        node: node.map(str::to_owned),
    };
    plan.steps.push(Step::Provision(Box::new(Provision {
        driver: provisioner.to_owned(),
        request,
        volume: template(claim, class, name),
        about,
        class: class_name.to_owned(),
        without_node: node.map(|_| Box::new(without_node(marked))),
    })));
}

/// The name of the volume made for a claim, and of its object.
pub fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("{NAME_PREFIX}{}", claim.metadata.uid.as_deref().unwrap_or_default())
}

/// What no driver here can do.
fn unsupported(claim: &PersistentVolumeClaim) -> Option<&'static str> {
    let spec = claim.spec.as_ref()?;
    if spec.selector.is_some() {
        return Some("claim Selector is not supported");
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Some("block volume provisioning is not supported");
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Some("a volume with content from a data source is not supported");
    }
    None
}

fn mark(claim: &PersistentVolumeClaim, provisioner: &str) -> PersistentVolumeClaim {
    let mut marked = claim.clone();
    let annotations = marked.metadata.annotations.get_or_insert_default();
    for key in [STORAGE_PROVISIONER, STORAGE_PROVISIONER_BETA] {
        annotations.insert(key.to_owned(), provisioner.to_owned());
    }
    marked
}

fn without_node(mut claim: PersistentVolumeClaim) -> PersistentVolumeClaim {
    if let Some(annotations) = &mut claim.metadata.annotations {
        annotations.remove(SELECTED_NODE);
    }
    claim
}

/// The object of a new volume, but for what only its driver can say.
fn template(claim: &PersistentVolumeClaim, class: &StorageClass, name: String) -> PersistentVolume {
    let spec = claim.spec.as_ref();
    let provisioned_by = (PROVISIONED_BY.to_owned(), class.provisioner.clone());
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([provisioned_by])),
            finalizers: Some(vec![VOLUME_PROTECTION.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.and_then(|spec| spec.access_modes.clone()),
            claim_ref: Some(reference_to(claim)),
            mount_options: class.mount_options.clone(),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone().or(Some("Delete".to_owned())),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: spec.and_then(|spec| spec.volume_mode.clone()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// The object of a volume that was made.
pub fn complete(mut template: PersistentVolume, driver: &str, volume: &Volume) -> PersistentVolume {
    let spec = template.spec.get_or_insert_default();
    let bytes = i64::try_from(volume.capacity_bytes).unwrap_or(i64::MAX);
    let capacity = Quantity::from_value(bytes, Format::BinarySi).to_api();
    spec.capacity = Some(BTreeMap::from([("storage".to_owned(), capacity)]));
    spec.csi = Some(CSIPersistentVolumeSource {
        driver: driver.to_owned(),
        volume_handle: volume.id.0.clone(),
        volume_attributes: (!volume.context.is_empty()).then(|| volume.context.clone()),
        ..CSIPersistentVolumeSource::default()
    });
    spec.node_affinity = volume.node.as_deref().map(only_on);
    template
}

fn only_on(node: &str) -> VolumeNodeAffinity {
    let requirement = NodeSelectorRequirement {
        key: HOSTNAME_LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), match_fields: None };
    VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }
}
