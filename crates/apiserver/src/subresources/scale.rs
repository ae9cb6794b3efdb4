//! `scale`: the number of replicas alone, as `autoscaling/v1` `Scale`.

use std::sync::Arc;

use bytes::Bytes;
use client::PatchKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use model::encoded::Encoded;
use model::field::{Error, Path};
use model::resource::GroupVersionKind;
use model::selector::Selector;
use model::status::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Api;
use crate::kind::Subresource;
use crate::pipeline::modify::{Part, Proposal};
use crate::pipeline::{metadata, patch as patching};
use crate::request::{Address, Context, Input, WriteOptions};

pub(crate) const SCALE: GroupVersionKind = GroupVersionKind::constant("autoscaling", "v1", "Scale");
const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The scale of the object at `address`.
pub(crate) fn get(api: &Api, address: &Address) -> Result<Arc<Encoded>, Status> {
    check_served(address)?;
    let (object, value) = api.current(address)?;
    Ok(encoded(&of(&value), &object))
}

/// Writes the scale.
pub(crate) async fn put(
    api: &Api,
    cx: &Context,
    address: &Address,
    input: Input,
    options: &WriteOptions,
) -> Result<Arc<Encoded>, Status> {
    check_served(address)?;
    let mut scale = input.value;
    if !metadata::text(&scale, "name").is_empty() {
        metadata::check_name(&scale, address)?;
    }
    check(&mut scale, address)?;
    write(api, cx, address, options, |_| Ok(scale.clone())).await
}

/// Patches the scale.
pub(crate) async fn patch(
    api: &Api,
    cx: &Context,
    address: &Address,
    kind: PatchKind,
    patch: &Value,
    options: &WriteOptions,
) -> Result<Arc<Encoded>, Status> {
    check_served(address)?;
    write(api, cx, address, options, |old| {
        let before = of(old);
        let mut scale = patching::apply(kind, DEFINITION, &before, patch)?;
        metadata::check_name(&scale, address)?;
        check(&mut scale, address)?;
        if metadata::text(&scale, "resourceVersion") == metadata::text(&before, "resourceVersion")
            && !patch["metadata"]["resourceVersion"].is_string()
        {
            metadata::of_mut(&mut scale).remove("resourceVersion");
        }
        Ok(scale)
    })
    .await
}

fn check_served(address: &Address) -> Result<(), Status> {
    if address.kind.subresources.contains(&Subresource::Scale) { Ok(()) } else { Err(Status::no_such_path()) }
}

async fn write(
    api: &Api,
    cx: &Context,
    address: &Address,
    options: &WriteOptions,
    mut scale: impl FnMut(&Value) -> Result<Value, Status>,
) -> Result<Arc<Encoded>, Status> {
    let written = api
        .modify(cx, address, Part::Main, options, |old| {
            let scale = scale(old)?;
            let mut object = old.clone();
            object["spec"]["replicas"] = scale["spec"]["replicas"].as_i64().unwrap_or(0).into();
            let version = metadata::text(&scale, "resourceVersion").to_owned();
            let conditional = !matches!(version.as_str(), "" | "0");
            if conditional {
                metadata::of_mut(&mut object).insert("resourceVersion".to_owned(), version.into());
            }
            let uid = metadata::text(&scale, "uid");
            if !uid.is_empty() {
                metadata::of_mut(&mut object).insert("uid".to_owned(), uid.into());
            }
            Ok(Proposal { object, conditional })
        })
        .await?;
    let value = crate::codec::value(&written.object)?;
    Ok(encoded(&of(&value), &written.object))
}

fn check(scale: &mut Value, address: &Address) -> Result<(), Status> {
    let checked = model::schema::definitions().check(DEFINITION, scale);
    if let Some(error) = checked.type_errors.first() {
        let text = format!("Scale in version \"autoscaling/v1\" cannot be handled as a Scale: {error}");
        return Err(Status::bad_request(text));
    }
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let path = Path::new("spec.replicas");
        let error = Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(&SCALE, &address.name, &vec![error]));
    }
    Ok(())
}

/// The scale of an object, as a tree.
fn of(object: &Value) -> Value {
    let mut fields = serde_json::Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata::of(object).get(name) {
            fields.insert(name.to_owned(), value.clone());
        }
    }
    let selector = LabelSelector::deserialize(&object["spec"]["selector"])
        .ok()
        .and_then(|selector| Selector::from_label_selector(&selector).ok())
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    let mut spec = json!({});
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": fields, "spec": spec,
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector,
        },
    })
}

fn encoded(scale: &Value, of: &Encoded) -> Arc<Encoded> {
    Arc::new(Encoded::new(Bytes::from(scale.to_string()), of.revision()))
}
