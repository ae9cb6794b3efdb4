//! Discovery: which groups, versions and resources there are, in the classic and the aggregated form.
//!
//! Made from the descriptors once; pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::kind::{Kind, Subresource};

/// Verbs of every resource.
const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn verbs(kind: &Kind) -> &'static [&'static str] {
    if kind.strategy.is_review() { &["create"] } else { &VERBS }
}

/// A document with its entity tag.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    pub(crate) etag: String,
}

impl Document {
    fn new(value: &Value) -> Document {
        let body = Bytes::from(value.to_string());
        let hash = Sha256::digest(&body);
        let etag = format!("\"{}\"", hash.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
        Document { body, etag }
    }
}

/// Versions of the aggregated form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregated {
    V2,
    V2Beta1,
}

/// The aggregated form that an `Accept` header asks for first, if any.
pub(crate) fn aggregated(accept: &str) -> Option<Aggregated> {
    for range in accept.split(',').map(|range| range.replace(' ', "")) {
        let asks = |part: &str| range.split(';').any(|own| own == part);
        if asks("as=APIGroupDiscoveryList") && asks("g=apidiscovery.k8s.io") {
            if asks("v=v2") {
                return Some(Aggregated::V2);
            }
            if asks("v=v2beta1") {
                return Some(Aggregated::V2Beta1);
            }
        } else if range.starts_with("application/json") && !range.contains("as=") {
            return None;
        }
    }
    None
}

/// `/api`, classic.
pub(crate) fn core_versions(server: &str) -> Document {
    Document::new(&json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    }))
}

/// `/apis`, classic.
pub(crate) fn group_list(kinds: &[&'static Kind]) -> Document {
    let groups: Vec<Value> = groups(kinds)
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, _)| group(name, kinds))
        .collect();
    Document::new(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// `/apis/<group>`.
pub(crate) fn one_group(kinds: &[&'static Kind], name: &str) -> Option<Document> {
    let there = !name.is_empty() && groups(kinds).iter().any(|(own, _)| own == name);
    there.then(|| {
        let mut value = group(name, kinds);
        value["kind"] = "APIGroup".into();
        value["apiVersion"] = "v1".into();
        Document::new(&value)
    })
}

/// `/api/v1` or `/apis/<group>/<version>`.
pub(crate) fn resources(kinds: &[&'static Kind], group: &str, version: &str) -> Option<Document> {
    let own = |kind: &&&'static Kind| kind.gvr.group == group && kind.gvr.version == version;
    let mut list = Vec::new();
    for kind in kinds.iter().filter(own) {
        list.push(json!({
            "name": kind.gvr.resource, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.gvk.kind, "verbs": verbs(kind), "shortNames": kind.short_names,
            "categories": kind.categories, "storageVersionHash": hash(kind),
        }));
        for subresource in kind.subresources {
            let (name, verbs, gvk) = describe(*subresource, kind);
            let mut entry = json!({
                "name": format!("{}/{name}", kind.gvr.resource), "singularName": "",
                "namespaced": kind.namespaced, "kind": gvk.2, "verbs": verbs,
            });
            if (gvk.0, gvk.1) != (group, version) {
                entry["group"] = gvk.0.into();
                entry["version"] = gvk.1.into();
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list: Vec<Value> = list.into_iter().map(without_empty).collect();
    Some(Document::new(&json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    })))
}

/// `/api` or `/apis`, aggregated.
pub(crate) fn aggregate(kinds: &[&'static Kind], core: bool, form: Aggregated) -> Document {
    let mut items = Vec::new();
    for (name, versions) in groups(kinds).iter().filter(|(name, _)| name.is_empty() == core) {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let own = |kind: &&&'static Kind| kind.gvr.group == *name && kind.gvr.version == *version;
                let resources: Vec<Value> =
                    kinds.iter().filter(own).map(|kind| aggregated_resource(kind)).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            })
            .collect();
        let metadata = if name.is_empty() {
            json!({"creationTimestamp": null})
        } else {
            json!({"name": name, "creationTimestamp": null})
        };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let version = match form {
        Aggregated::V2 => "apidiscovery.k8s.io/v2",
        Aggregated::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
    };
    Document::new(&json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": version, "metadata": {}, "items": items,
    }))
}

fn aggregated_resource(kind: &Kind) -> Value {
    let gvk = &kind.gvk;
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|subresource| {
            let (name, verbs, (group, version, response)) = describe(*subresource, kind);
            json!({
                "subresource": name, "verbs": verbs,
                "responseKind": {"group": group, "version": version, "kind": response},
            })
        })
        .collect();
    without_empty(json!({
        "resource": kind.gvr.resource,
        "responseKind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(kind), "shortNames": kind.short_names,
        "categories": kind.categories, "subresources": subresources,
    }))
}

type Described<'a> = (&'static str, &'static [&'static str], (&'a str, &'a str, &'a str));

fn describe(subresource: Subresource, kind: &Kind) -> Described<'_> {
    let own = (kind.gvk.group.as_ref(), kind.gvk.version.as_ref(), kind.gvk.kind.as_ref());
    match subresource {
        Subresource::Status => ("status", &["get", "patch", "update"], own),
        Subresource::Scale => ("scale", &["get", "patch", "update"], ("autoscaling", "v1", "Scale")),
        Subresource::Binding => ("binding", &["create"], ("", "v1", "Binding")),
        Subresource::Eviction => ("eviction", &["create"], ("policy", "v1", "Eviction")),
        Subresource::Log => ("log", &["get"], ("", "v1", "Pod")),
        Subresource::Exec => ("exec", &["create", "get"], ("", "v1", "PodExecOptions")),
        Subresource::Attach => ("attach", &["create", "get"], ("", "v1", "PodAttachOptions")),
        Subresource::Finalize => ("finalize", &["update"], own),
    }
}

/// Group names with their versions; the core group is empty and first.
fn groups(kinds: &[&'static Kind]) -> Vec<(String, Vec<String>)> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds {
        let versions = groups.entry(kind.gvr.group.to_string()).or_default();
        if !versions.iter().any(|version| *version == kind.gvr.version) {
            versions.push(kind.gvr.version.to_string());
        }
    }
    groups.into_iter().collect()
}

fn group(name: &str, kinds: &[&'static Kind]) -> Value {
    let groups = groups(kinds);
    let versions = groups.iter().find(|(own, _)| own == name).map(|(_, versions)| versions.as_slice());
    let versions: Vec<Value> = versions
        .unwrap_or_default()
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn without_empty(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
    }
    value
}

/// Upstream's place for a hash of the stored form; clients compare it for equality only.
fn hash(kind: &Kind) -> String {
    use base64::Engine;
    let hash = Sha256::digest(kind.definition.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}
