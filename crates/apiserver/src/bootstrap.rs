//! What every cluster has from its first moment: its namespaces, the default StorageClass, the two
//! PriorityClasses of the system, the `kubernetes` Service ([`crate::kubernetes_service`]). Idempotent: what
//! is there already is left as it is.

use std::net::Ipv4Addr;

use model::resource::GroupVersionResource;
use model::status::Status;
use serde_json::{Value, json};

use crate::api::Api;
use crate::kinds::priority_class::SYSTEM_CLASSES;
use crate::kubernetes_service;
use crate::request::{Address, Context, Input, User, WriteOptions};

/// The namespaces that are always there.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes what is missing. The API is reachable for pods at `advertise_address:port`; a loopback address means
/// that it is not, and then the `kubernetes` Service has no endpoints.
pub async fn ensure(api: &Api, advertise_address: Ipv4Addr, port: u16) -> Result<(), Status> {
    for name in NAMESPACES {
        let object = json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        create(api, ("", "v1", "namespaces"), "", object).await?;
    }
    for namespace in NAMESPACES {
        create(api, ("", "v1", "serviceaccounts"), namespace, json!({"metadata": {"name": "default"}}))
            .await?;
    }
    for (name, value, description) in SYSTEM_CLASSES {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description});
        create(api, ("scheduling.k8s.io", "v1", "priorityclasses"), "", class).await?;
    }
    let class = json!({
        "metadata": {
            "name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "local.ordinal.dev", "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete", "allowVolumeExpansion": false,
    });
    create(api, ("storage.k8s.io", "v1", "storageclasses"), "", class).await?;
    kubernetes_service::ensure(api, advertise_address, port).await
}

pub(crate) type Names = (&'static str, &'static str, &'static str);

pub(crate) fn context() -> Context {
    Context::new(User::component("apiserver"))
}

pub(crate) fn address(
    api: &Api,
    names: Names,
    namespace: &str,
    name: &str,
) -> Result<Option<Address>, Status> {
    let (group, version, resource) = names;
    let resource = GroupVersionResource::constant(group, version, resource);
    Ok(api.kind(&resource).map(|kind| Address::new(kind, namespace, name)))
}

pub(crate) async fn create(api: &Api, names: Names, namespace: &str, object: Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(address) = address(api, names, namespace, &name)? else { return Ok(()) };
    if api.store.get(&address.key()).is_some() {
        return Ok(());
    }
    match api.create(&context(), &address, Input::from(object), &WriteOptions::default()).await {
        Ok(_) => Ok(()),
        Err(status) if status.is_already_exists() => Ok(()),
        Err(status) => Err(status),
    }
}
