//! Claims and volumes: a default class, protection while in use, growth only where the class allows it.

use async_trait::async_trait;
use model::quantity::Quantity;
use model::resource::GroupVersionResource;
use model::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::api::Api;
use crate::codec;
use crate::pipeline::metadata;
use crate::request::Address;
use store::Range;

const STORAGE_CLASSES: GroupVersionResource =
    GroupVersionResource::constant("storage.k8s.io", "v1", "storageclasses");
/// Claims, of which sets have some.
pub(super) const CLAIMS: GroupVersionResource =
    GroupVersionResource::constant("", "v1", "persistentvolumeclaims");
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// A claim that names no class gets the default one.
pub(super) struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    async fn mutate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let creates = review.operation == Operation::Create && review.is("", "PersistentVolumeClaim");
        let named = !object["spec"]["storageClassName"].is_null()
            || object["metadata"]["annotations"].get(CLASS_ANNOTATION).is_some();
        if creates
            && !named
            && object["spec"].is_object()
            && let Some(name) = default_class(api)?
        {
            object["spec"]["storageClassName"] = name.into();
        }
        Ok(())
    }
}

/// The newest of the classes marked as default.
pub(super) fn default_class(api: &Api) -> Result<Option<String>, Status> {
    let Some(kind) = api.kind(&STORAGE_CLASSES) else { return Ok(None) };
    let range = Range { prefix: Address::new(kind, "", "").prefix(), ..Range::default() };
    let page = api.store.range(&range).map_err(Status::internal)?;
    let mut newest = None;
    for entry in &page.entries {
        let metadata = entry.object.metadata().map_err(Status::internal)?;
        let annotations = metadata.annotations.iter().flatten();
        if annotations.into_iter().any(|(key, value)| IS_DEFAULT.contains(&key.as_str()) && value == "true") {
            newest = newest.max(Some((entry.created, metadata.name.clone().unwrap_or_default())));
        }
    }
    Ok(newest.map(|(_, name)| name))
}

/// A claim or volume stays until nobody uses it.
pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    async fn mutate(
        &self,
        _api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        if review.operation != Operation::Create {
            return Ok(());
        }
        let finalizer = if review.is("", "PersistentVolumeClaim") {
            "kubernetes.io/pvc-protection"
        } else if review.is("", "PersistentVolume") {
            "kubernetes.io/pv-protection"
        } else {
            return Ok(());
        };
        let mut finalizers = metadata::finalizers(object);
        if !finalizers.iter().any(|own| own == finalizer) {
            finalizers.push(finalizer.to_owned());
            metadata::set_finalizers(object, finalizers);
        }
        Ok(())
    }
}

/// A claim grows only where its class can grow volumes.
pub(super) struct ClaimResize;

#[async_trait]
impl Plugin for ClaimResize {
    async fn validate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
        if !review.is("", "PersistentVolumeClaim") || !grows(new, old) {
            return Ok(());
        }
        let refuse =
            |detail: &str| Err(Status::forbidden(&review.address.kind.gvr, &review.address.name, detail));
        if old["status"]["phase"] != "Bound" {
            return refuse("Only bound persistent volume claims can be expanded");
        }
        let class = old["spec"]["storageClassName"].as_str().unwrap_or_default();
        if allows_expansion(api, class)? == Some(true) {
            return Ok(());
        }
        refuse(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
             must support resize",
        )
    }
}

/// Whether a class lets volumes grow; `None` where there is no such class.
pub(super) fn allows_expansion(api: &Api, class: &str) -> Result<Option<bool>, Status> {
    let Some(kind) = api.kind(&STORAGE_CLASSES) else { return Ok(None) };
    let Some(entry) = api.store.get(&Address::new(kind, "", class).key()) else { return Ok(None) };
    Ok(Some(codec::value(&entry.object)?["allowVolumeExpansion"] == true))
}

/// True when a claim, or a template of one, asks for more storage than before.
pub(super) fn grows(new: &Value, old: &Value) -> bool {
    let storage = |claim: &Value| {
        claim["spec"]["resources"]["requests"]["storage"].as_str().and_then(|text| Quantity::parse(text).ok())
    };
    matches!((storage(new), storage(old)), (Some(new), Some(old)) if new > old)
}
