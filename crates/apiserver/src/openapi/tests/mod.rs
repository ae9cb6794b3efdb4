//! The documents as their readers read them.

mod readers;

use std::collections::HashSet;

use serde_json::Value;

use super::{Document, OpenApi};
use crate::kinds;

fn open_api() -> OpenApi {
    OpenApi::new(&kinds::all())
}

fn parsed(document: &Document) -> Value {
    serde_json::from_slice(&document.json()).expect("a document is JSON")
}

fn document(root: &str) -> Value {
    parsed(&open_api().document_v3(root).unwrap_or_else(|| panic!("no document for {root}")))
}

#[test]
fn the_index_leads_to_every_document_by_the_hash_of_its_content() {
    let open_api = open_api();
    let index: Value = serde_json::from_slice(&open_api.index()).expect("JSON");
    let paths = index["paths"].as_object().expect("paths");
    for root in ["api/v1", "apis/apps/v1", "apis/storage.k8s.io/v1", "apis/coordination.k8s.io/v1"] {
        assert!(paths.contains_key(root), "{root}");
    }
    for (root, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().expect("a URL");
        let (path, query) = url.split_once('?').expect("a query");
        assert_eq!(path, format!("/openapi/v3/{root}"));
        let document = open_api.document_v3(root).expect("the index names only what is there");
        assert!(document.is_named_by(Some(query)));
        assert!(!document.is_named_by(Some("hash=0")) && !document.is_named_by(None));
        assert_eq!(document.etag, format!("\"{}\"", document.hash));
    }
    assert!(open_api.document_v3("apis/nothing/v1").is_none());
}

#[test]
fn the_same_kinds_give_the_same_hashes() {
    assert_eq!(open_api().index(), open_api().index());
}

#[test]
fn every_reference_leads_to_a_schema_in_the_same_document() {
    fn references(value: &Value, found: &mut HashSet<String>) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let open_api = open_api();
    let index: Value = serde_json::from_slice(&open_api.index()).expect("JSON");
    let mut documents: Vec<Value> = index["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .map(|root| parsed(&open_api.document_v3(root).expect("in the index")))
        .collect();
    documents.push(parsed(&open_api.v2()));
    for document in documents {
        let mut found = HashSet::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("in the same document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

#[test]
fn names_of_operations_are_not_used_twice() {
    let v2 = parsed(&open_api().v2());
    let mut seen = HashSet::new();
    for (path, item) in v2["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let Some(id) = operation.get("operationId") else { continue };
            assert!(seen.insert(id.as_str().expect("text").to_owned()), "{id} at {method} {path}");
        }
    }
}

#[test]
fn every_parameter_in_a_path_is_described_there() {
    let v2 = parsed(&open_api().v2());
    for (path, item) in v2["paths"].as_object().expect("paths") {
        let described = item["parameters"].as_array().expect("parameters");
        let wanted = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let names: HashSet<&str> = described
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names, wanted.collect::<HashSet<&str>>(), "{path}");
    }
}

#[test]
fn swagger_has_no_forms_that_only_openapi_3_knows() {
    let v2 = open_api().v2();
    let text = String::from_utf8(v2.json().to_vec()).expect("UTF-8");
    for form in ["\"allOf\"", "\"oneOf\"", "\"requestBody\"", "\"content\"", "#/components/"] {
        assert!(!text.contains(form), "{form}");
    }
    let v2 = parsed(&v2);
    assert_eq!(v2["swagger"], "2.0");
    let patch = &v2["paths"]["/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    let body = patch["parameters"].as_array().expect("parameters").last().expect("one");
    assert_eq!((body["in"].as_str(), body["name"].as_str()), (Some("body"), Some("body")));
}
