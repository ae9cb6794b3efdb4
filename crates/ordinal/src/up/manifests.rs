//! Manifests named on the command line: read, and applied in their order.
//!
//! As `kubectl apply` does it: what is not there is created; what is there gets the manifest as a strategic
//! merge patch, in which what was applied before and is left out now is removed. Where that makes no
//! difference nothing is written.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use apiserver::Api;
use client::{Body, Client, PatchKind, Reply, Target, Verb};
use model::patch::{LAST_APPLIED, last_applied};
use model::resource::GroupVersionKind;
use model::status::Status;
use serde_json::Value;

use crate::output;

/// Largest manifest: what fits one request, many times over.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Reads every object of these files.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for path in paths {
        let name = path.display();
        let size = std::fs::metadata(path).with_context(|| format!("read the manifest {name}"))?.len();
        if size > MANIFEST_BYTES_MAX {
            bail!("the manifest {name} is larger than {} MiB", MANIFEST_BYTES_MAX >> 20);
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("read the manifest {name}"))?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("read the manifest {name}"))?;
        for document in documents {
            flatten(document, &mut objects).with_context(|| format!("read the manifest {name}"))?;
        }
    }
    Ok(objects)
}

fn flatten(document: Value, objects: &mut Vec<Value>) -> Result<()> {
    match document {
        Value::Null => {}
        Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
            if let Some(Value::Array(items)) = list.remove("items") {
                items.into_iter().try_for_each(|item| flatten(item, objects))?;
            }
        }
        Value::Object(_) => objects.push(document),
        _ => bail!("a document is no object"),
    }
    Ok(())
}

/// Applies objects, in order.
pub(super) async fn apply(api: &std::sync::Arc<Api>, objects: &[Value]) -> Result<()> {
    let client = Client::new(api.transport(), "ordinal-up");
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let gvk = GroupVersionKind::parse(api_version, kind);
        let served = api.kinds().iter().find(|served| Some(&served.gvk) == gvk.as_ref());
        let Some(served) = served else {
            bail!("{kind} {name:?}: no kind {kind} is served in version {api_version:?}");
        };
        let namespace = match text("/metadata/namespace") {
            _ if !served.namespaced => "",
            "" => "default",
            namespace => namespace,
        };
        let mut body = object.clone();
        if !body["metadata"].is_object()
            || !(body["metadata"]["annotations"].is_object() || body["metadata"]["annotations"].is_null())
        {
            bail!("{kind} {name:?}: metadata and its annotations must be mappings");
        }
        if served.namespaced {
            body["metadata"]["namespace"] = namespace.into();
        }
        body["metadata"]["annotations"][LAST_APPLIED] = last_applied(&body).into();
        let target = |name: &str| Target {
            resource: served.gvr.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: "",
        };
        let created = client.call(Verb::Create, target(""), Body::Object(body.clone())).await;
        let what = match created {
            Ok(_) => "created",
            Err(status) if status.is_already_exists() => {
                let changed = change(&client, target(name), served.definition, body).await;
                if changed.with_context(|| format!("apply {kind} {name:?}"))? {
                    "configured"
                } else {
                    "unchanged"
                }
            }
            Err(status) => return Err(status).with_context(|| format!("apply {kind} {name:?}")),
        };
        output::line(format_args!("applied  {}/{name} {what}", served.singular));
    }
    Ok(())
}

/// Makes the object that is there what the manifest says; true when that made a difference.
async fn change(client: &Client, target: Target, definition: &str, mut body: Value) -> Result<bool, Status> {
    let object = |reply: Reply| match reply {
        Reply::Object(object) => {
            serde_json::from_slice(object.bytes()).map_err(|error| Status::internal(error.to_string()))
        }
        Reply::List(..) | Reply::Done => Err(Status::internal("an object was asked for")),
    };
    let old: Value = object(client.call(Verb::Get, target.clone(), Body::Empty).await?)?;
    let before = old["metadata"]["annotations"][LAST_APPLIED].as_str();
    if let Some(before) = before.and_then(|text| serde_json::from_str(text).ok()) {
        model::patch::add_removals(&before, &mut body, definition);
    }
    let patch = Body::Patch(PatchKind::StrategicMerge, body);
    let new: Value = object(client.call(Verb::Patch, target, patch).await?)?;
    Ok(of_people(new) != of_people(old))
}

/// An object without what the cluster itself writes into it, at any moment.
fn of_people(mut object: Value) -> Value {
    object["status"].take();
    for field in ["resourceVersion", "managedFields"] {
        object["metadata"][field].take();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn every_document_and_every_item_of_a_list_is_an_object() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let text = "kind: A\n---\n# nothing\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
        file.write_all(text.as_bytes()).expect("writes");
        let objects = read(&[file.path().to_owned()]).expect("reads");
        let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(&["/nonexistent.yaml".into()]).expect_err("is not there");
        assert!(error.to_string().contains("/nonexistent.yaml"));
    }
}
