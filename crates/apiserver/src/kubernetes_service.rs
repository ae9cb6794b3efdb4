//! The Service `kubernetes`, by which pods find this API, with its Endpoints and its EndpointSlice.
//!
//! Nobody but the API server knows what stands in them, so that it makes them at its start and makes them
//! again when somebody deletes or changes them. What others add to them stays.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, ListOptions, Scope, Typed, reflect};
use futures::stream::{BoxStream, select_all};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::bootstrap::{Names, address, context, create};
use crate::pipeline::modify::{Part, Proposal};
use crate::request::WriteOptions;

const KUBERNETES: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// Shortest pause between two looks at the objects: somebody who writes something else into them, without
/// end, costs one write of each in that time.
const PAUSE: Duration = Duration::from_millis(250);
/// Pause after a refused write, such as for want of the namespace or of room on the disk.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Keeps the objects as [`ensure`] makes them until `stop` is cancelled. It looks at them when they change.
pub async fn keep(api: Arc<Api>, advertise_address: Ipv4Addr, port: u16, stop: CancellationToken) {
    let client = Client::new(api.transport(), "apiserver");
    let mut changes = select_all([
        changes::<Service>(&client),
        changes::<Endpoints>(&client),
        changes::<EndpointSlice>(&client),
    ]);
    let mut is_kept = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = changes.next(), if is_kept => {}
            () = tokio::time::sleep(RETRY_PAUSE), if !is_kept => {}
        }
        // What has come by now is looked at in one go.
        while changes.next().now_or_never().is_some() {}
        is_kept = match ensure(&api, advertise_address, port).await {
            Ok(()) => true,
            Err(status) => {
                tracing::warn!("keep the Service {KUBERNETES}, to be tried again: {}", status.message);
                false
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn changes<K: Typed>(client: &Client) -> BoxStream<'static, ()> {
    let field_selector = format!("metadata.name={KUBERNETES}");
    let options = ListOptions { field_selector, ..ListOptions::default() };
    let scope = Scope { namespace: NAMESPACE.to_owned(), options };
    reflect::<K>(client.clone(), scope).map(|_| ()).boxed()
}

/// Makes what is missing of the objects, and brings what is there to what they must be.
pub(crate) async fn ensure(api: &Api, advertise_address: Ipv4Addr, port: u16) -> Result<(), Status> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": KUBERNETES, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "type": "ClusterIP", "clusterIP": service_address(api).to_string(), "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    replace(api, ("", "v1", "services"), service).await?;
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
            "name": KUBERNETES, "namespace": NAMESPACE,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": subsets,
    });
    replace(api, ("", "v1", "endpoints"), endpoints).await?;
    let slice = json!({
        "metadata": {
            "name": KUBERNETES, "namespace": NAMESPACE,
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

/// Makes an object or brings it to what is wanted: somebody may have changed it, or the port is another one
/// since the last start. Labels and fields of `spec` that others have added stay.
async fn replace(api: &Api, names: Names, wanted: Value) -> Result<(), Status> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(address) = address(api, names, NAMESPACE, &name)? else { return Ok(()) };
    if api.store.get(&address.key()).is_none() {
        return create(api, names, NAMESPACE, wanted).await;
    }
    let options = WriteOptions::default();
    let change = |old: &Value| {
        let mut object = old.clone();
        for (field, value) in wanted.as_object().into_iter().flatten() {
            match field.as_str() {
                "metadata" => put(&mut object["metadata"]["labels"], &value["labels"]),
                // An address cannot be changed once it is given.
                "spec" => put(&mut object["spec"], &without(value, "clusterIP")),
                _ => object[field] = value.clone(),
            }
        }
        Ok(Proposal { object, conditional: false })
    };
    api.modify(&context(), &address, Part::Main, &options, change).await.map(|_| ())
}

fn without(value: &Value, field: &str) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
    value
}

fn put(fields: &mut Value, wanted: &Value) {
    for (field, value) in wanted.as_object().into_iter().flatten() {
        fields[field] = value.clone();
    }
}
