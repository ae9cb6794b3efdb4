//! Manifests named on the command line: read, and applied in their order.
//!
//! As `kubectl apply` does it: what is not there is created; what is there gets the manifest as a strategic
//! merge patch, in which what was applied before and is left out now is removed. Where that makes no
//! difference nothing is written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use apiserver::Api;
use apiserver::authz::MASTERS;
use apiserver::request::{self, Address, FieldValidation, User, WriteOptions};
use model::resource::GroupVersionKind;
use serde_json::Value;

use crate::output;

/// Largest manifest: what fits one request, many times over.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Reads every object of these files; `-` is the standard input.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for path in paths {
        let name = path.display();
        let text = text_of(path).with_context(|| format!("read the manifest {name}"))?;
        if text.len() as u64 > MANIFEST_BYTES_MAX {
            bail!("the manifest {name} is larger than {} MiB", MANIFEST_BYTES_MAX >> 20);
        }
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("read the manifest {name}"))?;
        for document in documents {
            flatten(document, &mut objects).with_context(|| format!("read the manifest {name}"))?;
        }
    }
    Ok(objects)
}

/// At most one byte more than a manifest may have.
fn text_of(path: &Path) -> std::io::Result<String> {
    let file: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path)?) };
    let mut text = String::new();
    file.take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
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

/// Applies objects, in order. A field that a kind does not have is refused, as by kubectl.
pub(super) async fn apply(api: &std::sync::Arc<Api>, objects: &[Value]) -> Result<()> {
    let user = User { name: "ordinal-up".to_owned(), groups: vec![MASTERS.to_owned()] };
    let options = WriteOptions {
        field_validation: FieldValidation::Strict,
        field_manager: "ordinal-up".to_owned(),
        ..WriteOptions::default()
    };
    for object in objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let gvk = GroupVersionKind::parse(api_version, kind);
        let served = api.kinds().iter().find(|served| Some(&served.gvk) == gvk.as_ref());
        let Some(served) = served else {
            bail!("{kind} {name:?}: no kind {kind} is served in version {api_version:?}");
        };
        let namespace = match text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        };
        let (metadata, annotations) = (&object["metadata"], &object["metadata"]["annotations"]);
        if !metadata.is_object() || !(annotations.is_object() || annotations.is_null()) {
            bail!("{kind} {name:?}: metadata and its annotations must be mappings");
        }
        let cx = request::Context::new(user.clone());
        let address = Address::new(served, namespace, name);
        let applied = api.apply(&cx, &address, object.clone(), &options).await;
        let applied = applied.with_context(|| format!("apply {kind} {name:?}"))?;
        let after = applied.after.value().context("read what was applied")?;
        let what = match applied.before {
            None => "created",
            Some(before) => match of_people(before) == of_people(after) {
                true => "unchanged",
                false => "configured",
            },
        };
        output::line(format_args!("applied  {}/{name} {what}", served.singular));
        for warning in cx.take_warnings() {
            output::line(format_args!("warning  {warning}"));
        }
    }
    Ok(())
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
