//! The OpenAPI documents: what `kubectl explain`, `apply` and every generated client read.
//!
//! They are made on the first request, all at once (that takes some tens of milliseconds), from the
//! descriptors and the published schemas, and kept as gzip, which is what nearly every client asks for;
//! the plain text is unpacked again for the others. This module must never decide what is served: it
//! writes down what the descriptors say.
//!
//! Read next: [`paths`] (the operations), [`components`] (the schemas), [`v2`] (the same as Swagger 2.0).

mod components;
mod document;
mod operations;
mod parameters;
mod paths;
mod v2;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use model::schema::ExtraField;
use serde_json::{Map, Value, json};

use crate::kind::Kind;
pub use document::Document;

/// What documents say of themselves.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All OpenAPI documents of one API server.
pub struct OpenApi {
    kinds: Vec<&'static Kind>,
    extra: Vec<ExtraField>,
    made: OnceLock<Made>,
}

/// What is kept once it was made.
struct Made {
    index: Bytes,
    groups: BTreeMap<String, Arc<Document>>,
    v2: Arc<Document>,
}

impl OpenApi {
    /// Documents about these kinds. Nothing is made yet.
    pub fn new(kinds: &[&'static Kind]) -> OpenApi {
        OpenApi::with_extra(kinds, model::stateful_set::extra_fields())
    }

    /// The same with fields that upstream does not have.
    pub fn with_extra(kinds: &[&'static Kind], extra: Vec<ExtraField>) -> OpenApi {
        OpenApi { kinds: kinds.to_vec(), extra, made: OnceLock::new() }
    }

    /// The body of `/openapi/v3`: where each group's document is, with the hash of its content.
    pub fn index(&self) -> Bytes {
        self.made().index.clone()
    }

    /// The document of a group and version as the index names it: `api/v1`, `apis/apps/v1`. `None` when
    /// no such group is served.
    pub fn document_v3(&self, group_version_path: &str) -> Option<Arc<Document>> {
        self.made().groups.get(group_version_path.trim_matches('/')).cloned()
    }

    /// The body of `/openapi/v2`.
    pub fn v2(&self) -> Arc<Document> {
        Arc::clone(&self.made().v2)
    }

    fn made(&self) -> &Made {
        self.made.get_or_init(|| self.make())
    }

    fn make(&self) -> Made {
        let schemas = components::published(&self.kinds, &self.extra);
        let mut all_paths = Map::new();
        let mut groups = BTreeMap::new();
        for root in self.group_roots() {
            let kinds: Vec<&Kind> =
                self.kinds.iter().copied().filter(|kind| paths::group_root(kind) == root).collect();
            let paths = paths::of_group(&root, &kinds);
            let document = json!({
                "openapi": "3.0.0",
                "info": { "title": "Kubernetes", "version": VERSION },
                "paths": &paths,
                "components": { "schemas": components::reachable(&paths, &schemas) },
            });
            groups.insert(root, Arc::new(Document::new(&document)));
            all_paths.extend(paths);
        }
        let v2 = v2::document(all_paths, &schemas);
        Made { index: index(&groups), groups, v2: Arc::new(Document::new(&v2)) }
    }

    fn group_roots(&self) -> BTreeSet<String> {
        self.kinds.iter().map(|kind| paths::group_root(kind)).collect()
    }
}

fn index(groups: &BTreeMap<String, Arc<Document>>) -> Bytes {
    let paths: Map<String, Value> = groups
        .iter()
        .map(|(root, document)| {
            let url = format!("/openapi/v3/{root}?hash={}", document.hash);
            (root.clone(), json!({ "serverRelativeURL": url }))
        })
        .collect();
    Bytes::from(json!({ "paths": paths }).to_string())
}
