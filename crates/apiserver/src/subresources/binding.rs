//! `pods/binding`: puts a pod on a node, once.

use model::field::{Error, Path};
use model::resource::GroupVersionKind;
use model::status::Status;
use serde_json::{Value, json};

use crate::api::Api;
use crate::pipeline::metadata;
use crate::pipeline::modify::{Part, Proposal};
use crate::request::{Address, Context, WriteOptions};

const BINDING: GroupVersionKind = GroupVersionKind::constant("", "v1", "Binding");

/// Binds the pod at `address` to the node that the `Binding` names.
pub(crate) async fn post(
    api: &Api,
    cx: &Context,
    address: &Address,
    binding: &Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    let node = check(binding, address)?;
    let uid = metadata::text(binding, "uid").to_owned();
    let now = metadata::time(api.now());
    api.modify(cx, address, Part::Server, options, |old| {
        let mut pod = bound(old, &node, &uid, &now, address)?;
        for field in ["annotations", "labels"] {
            for (key, value) in
                metadata::of(binding).get(field).and_then(Value::as_object).into_iter().flatten()
            {
                pod["metadata"][field][key] = value.clone();
            }
        }
        Ok(Proposal { object: pod, conditional: false })
    })
    .await?;
    Ok(())
}

fn check(binding: &Value, address: &Address) -> Result<String, Status> {
    let target = &binding["target"];
    let name = metadata::text(binding, "name");
    if !name.is_empty() && name != address.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let mut errors = Vec::new();
    let kind = target["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node" | "Minion") {
        errors.push(Error::not_supported(&Path::new("target.kind"), kind, &["Node", "<empty>"]));
    }
    let node = target["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        errors.push(Error::required(&Path::new("target.name"), ""));
    }
    if errors.is_empty() {
        Ok(node.to_owned())
    } else {
        Err(Status::invalid(&BINDING, &address.name, &errors))
    }
}

fn bound(old: &Value, node: &str, uid: &str, now: &Value, address: &Address) -> Result<Value, Status> {
    let name = &address.name;
    let conflict = |detail: &str| Status::conflict(&address.kind.gvr, name, detail);
    if !uid.is_empty() && uid != metadata::text(old, "uid") {
        let stored = metadata::text(old, "uid");
        let text = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(conflict(&text));
    }
    if metadata::is_terminating(old) {
        return Err(conflict(&format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let current = old["spec"]["nodeName"].as_str().unwrap_or_default();
    if !current.is_empty() {
        return Err(conflict(&format!("pod {name} is already assigned to node {current:?}")));
    }
    let gated = old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if gated {
        return Err(conflict(&format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut pod = old.clone();
    pod["spec"]["nodeName"] = node.into();
    // What it was promised it has now, here or elsewhere.
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": now });
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(conditions) = conditions.as_array_mut() {
        match conditions.iter_mut().find(|condition| condition["type"] == "PodScheduled") {
            Some(condition) if condition["status"] == "True" => {}
            Some(condition) => *condition = scheduled,
            None => conditions.push(scheduled),
        }
    }
    Ok(pod)
}
