//! kubectl's ways through the documents: the search for a query parameter before `apply`, the search for
//! the keys of lists when it makes a strategic merge patch, and `explain`.

use serde_json::{Value, json};

use super::document;
use crate::kinds;
use crate::openapi::paths::group_root;

/// Does PATCH of this kind take this query parameter? (`--validate`, `--dry-run=server`, `apply`.)
fn supports(document: &Value, group: &str, version: &str, kind: &str, parameter: &str) -> bool {
    let wanted = json!({ "group": group, "version": version, "kind": kind });
    let paths = document["paths"].as_object().expect("paths");
    let mut patches = paths.values().filter_map(|item| item.get("patch"));
    let found = patches.find(|patch| patch["x-kubernetes-group-version-kind"] == wanted);
    let parameters = found.expect("a PATCH of the kind")["parameters"].as_array().expect("parameters");
    parameters.iter().any(|given| given["name"] == parameter && given["in"] == "query")
}

/// The schema of a kind, by its mark.
fn schema_of<'d>(document: &'d Value, kind: &str) -> &'d Value {
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let is_kind = |schema: &&Value| {
        let marks = schema["x-kubernetes-group-version-kind"].as_array();
        marks.is_some_and(|marks| marks.iter().any(|mark| mark["kind"] == kind))
    };
    schemas.values().find(is_kind).unwrap_or_else(|| panic!("no schema is marked as {kind}"))
}

/// Follows a path of fields, through references and into the items of lists.
fn field<'d>(document: &'d Value, kind: &str, path: &str) -> &'d Value {
    path.split('.').fold(schema_of(document, kind), |schema, name| {
        let field = &resolved(document, schema)["properties"][name];
        assert!(field.is_object(), "{name} of {path}");
        field
    })
}

fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    if let Some(items) = schema.get("items") {
        return resolved(document, items);
    }
    let reference = schema.get("$ref").or_else(|| schema.get("allOf")?.get(0)?.get("$ref"));
    match reference.and_then(Value::as_str) {
        Some(reference) => document.pointer(&reference[1..]).expect("a schema"),
        None => schema,
    }
}

#[test]
fn patch_of_every_kind_lists_the_parameters_that_kubectl_looks_for() {
    for kind in kinds::all().into_iter().filter(|kind| !kind.strategy.is_review()) {
        let document = document(&group_root(kind));
        for parameter in ["fieldValidation", "dryRun", "fieldManager", "force"] {
            let (group, version, name) = (&kind.gvk.group, &kind.gvk.version, &kind.gvk.kind);
            assert!(supports(&document, group, version, name, parameter), "{name} {parameter}");
        }
    }
}

#[test]
fn patch_says_that_it_takes_strategic_patches() {
    let document = document("apis/apps/v1");
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"];
    let content = &item["patch"]["requestBody"]["content"];
    for media_type in ["application/strategic-merge-patch+json", "application/apply-patch+yaml"] {
        assert!(content.get(media_type).is_some(), "{media_type}");
    }
}

#[test]
fn apply_finds_how_lists_merge_on_the_way_from_the_kind() {
    let document = document("apis/apps/v1");
    let containers = field(&document, "StatefulSet", "spec.template.spec.containers");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    let volumes = field(&document, "StatefulSet", "spec.template.spec.volumes");
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let env = field(&document, "StatefulSet", "spec.template.spec.containers.env");
    assert_eq!(env["x-kubernetes-patch-merge-key"], "name");
    let templates = field(&document, "StatefulSet", "spec.volumeClaimTemplates");
    assert!(templates.get("x-kubernetes-patch-merge-key").is_none());
    assert_eq!(templates["x-kubernetes-list-type"], "atomic");
}

#[test]
fn every_field_that_explain_prints_has_a_description() {
    let document = document("apis/apps/v1");
    let spec = resolved(&document, field(&document, "StatefulSet", "spec"));
    let fields = spec["properties"].as_object().expect("fields");
    assert!(fields.len() >= 10);
    for (name, field) in fields {
        assert!(field["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert_eq!(spec["required"], json!(["selector", "template"]));
}

#[test]
fn subresources_are_about_their_own_kinds() {
    let apps = document("apis/apps/v1");
    let object = "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}";
    let scale = &apps["paths"][format!("{object}/scale")]["patch"]["x-kubernetes-group-version-kind"];
    assert_eq!(*scale, json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" }));
    let status = &apps["paths"][format!("{object}/status")]["put"]["x-kubernetes-group-version-kind"];
    assert_eq!(status["kind"], "StatefulSet");
    let core = document("api/v1");
    let eviction = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"];
    assert_eq!(eviction["x-kubernetes-group-version-kind"]["group"], "policy");
    assert!(core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/log"]["get"].is_object());
}
