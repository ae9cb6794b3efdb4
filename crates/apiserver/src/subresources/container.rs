//! Which container of a pod a request means, and on which node it runs.

use client::node::ContainerRef;
use k8s_openapi::api::core::v1::Pod;
use model::status::Status;

use crate::api::Api;
use crate::request::Address;

/// Names the container that `kubectl` and friends take when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A container and its node.
pub(crate) struct Place {
    pub(crate) node: String,
    pub(crate) container: ContainerRef,
}

/// Finds the container `asked` (empty: the only one) of the pod at `address`.
pub(crate) fn find(api: &Api, address: &Address, asked: &str) -> Result<Place, Status> {
    let entry = api.entry(address)?;
    let pod = entry.object.decode::<Pod>().map_err(Status::internal)?;
    let container = choose(&pod, &address.name, asked)?;
    let spec = pod.spec.as_ref();
    let node = spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", address.name)));
    }
    Ok(Place {
        node,
        container: ContainerRef {
            namespace: address.namespace.clone(),
            pod: address.name.clone(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            container,
        },
    })
}

fn choose(pod: &Pod, name: &str, asked: &str) -> Result<String, Status> {
    let Some(spec) = pod.spec.as_ref() else { return Err(Status::bad_request("the pod has no spec")) };
    let names = |list: &[String]| list.join(" ");
    let main: Vec<String> = spec.containers.iter().map(|container| container.name.clone()).collect();
    let init: Vec<String> =
        spec.init_containers.iter().flatten().map(|container| container.name.clone()).collect();
    let ephemeral: Vec<String> =
        spec.ephemeral_containers.iter().flatten().map(|container| container.name.clone()).collect();
    if !asked.is_empty() {
        let known = [&main, &init, &ephemeral].into_iter().flatten().any(|container| container == asked);
        if known {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    if let [only] = main.as_slice() {
        return Ok(only.clone());
    }
    let preferred = pod.metadata.annotations.as_ref().and_then(|all| all.get(DEFAULT_CONTAINER));
    if let Some(preferred) = preferred.filter(|preferred| main.contains(preferred)) {
        return Ok(preferred.clone());
    }
    let mut text =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", names(&main));
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", names(&init)));
    }
    if !ephemeral.is_empty() {
        text.push_str(&format!(" or one of the ephemeral containers: [{}]", names(&ephemeral)));
    }
    Err(Status::bad_request(text))
}
