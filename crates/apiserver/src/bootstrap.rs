//! What every cluster has from its first moment: its namespaces, the `kubernetes` Service, the default
//! StorageClass. Idempotent: what is there already is left as it is.

use std::net::Ipv4Addr;

use model::resource::GroupVersionResource;
use model::status::Status;
use serde_json::{Value, json};

use crate::api::Api;
use crate::pipeline::modify::{Part, Proposal};
use crate::request::{Address, Context, Input, User, WriteOptions};

/// The namespaces that are always there.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const KUBERNETES: &str = "kubernetes";

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
    let class = json!({
        "metadata": {
            "name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "local.ordinal.dev", "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete", "allowVolumeExpansion": false,
    });
    create(api, ("storage.k8s.io", "v1", "storageclasses"), "", class).await?;
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": KUBERNETES, "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": service_address(api).to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    create(api, ("", "v1", "services"), "default", service).await?;
    let addresses: Vec<String> = Some(advertise_address)
        .filter(|address| !address.is_loopback())
        .iter()
        .map(Ipv4Addr::to_string)
        .collect();
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let subsets: Vec<Value> =
        addresses.iter().map(|address| json!({"addresses": [{"ip": address}], "ports": ports})).collect();
    let ready: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect();
    let endpoints = json!({
        "metadata": {
            "name": KUBERNETES, "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": subsets,
    });
    replace(api, ("", "v1", "endpoints"), endpoints).await?;
    let slice = json!({
        "metadata": {
            "name": KUBERNETES, "namespace": "default",
            "labels": {"kubernetes.io/service-name": KUBERNETES},
        },
        "addressType": "IPv4",
        "endpoints": ready,
        "ports": ports,
    });
    replace(api, ("discovery.k8s.io", "v1", "endpointslices"), slice).await
}

/// The address of the `kubernetes` Service: the first of the range.
pub fn service_address(api: &Api) -> Ipv4Addr {
    let network = u32::from(api.config().service_cidr.network());
    Ipv4Addr::from(network.saturating_add(1))
}

type Names = (&'static str, &'static str, &'static str);

fn context() -> Context {
    Context::new(User::component("apiserver"))
}

fn address(api: &Api, names: Names, namespace: &str, name: &str) -> Result<Option<Address>, Status> {
    let (group, version, resource) = names;
    let resource = GroupVersionResource::constant(group, version, resource);
    Ok(api.kind(&resource).map(|kind| Address::new(kind, namespace, name)))
}

async fn create(api: &Api, names: Names, namespace: &str, object: Value) -> Result<(), Status> {
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

/// Makes an object or brings its content to what is wanted (the port may have changed since the last start).
async fn replace(api: &Api, names: Names, wanted: Value) -> Result<(), Status> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(address) = address(api, names, "default", &name)? else { return Ok(()) };
    if api.store.get(&address.key()).is_none() {
        return create(api, names, "default", wanted).await;
    }
    let options = WriteOptions::default();
    let change = |old: &Value| {
        let mut object = old.clone();
        for (field, value) in
            wanted.as_object().into_iter().flatten().filter(|(field, _)| *field != "metadata")
        {
            object[field] = value.clone();
        }
        Ok(Proposal { object, conditional: false })
    };
    api.modify(&context(), &address, Part::Main, &options, change).await.map(|_| ())
}
