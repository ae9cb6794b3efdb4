//! Objects by namespace and name: what the view's indexes have in common.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Objects by namespace and name.
#[derive(Debug)]
pub(super) struct ByName<T>(pub(super) HashMap<String, BTreeMap<String, T>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        ByName(HashMap::new())
    }
}

impl<T> ByName<T> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.0.get(namespace)?.get(name)
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&String, &T)> {
        self.0.get(namespace).into_iter().flatten()
    }

    /// Those whose name begins with `prefix`, in the order of their names.
    pub(super) fn beginning_with(&self, namespace: &str, prefix: &str) -> Vec<&T> {
        let Some(names) = self.0.get(namespace) else { return Vec::new() };
        let from_prefix = names.range(prefix.to_owned()..);
        let matching = from_prefix.take_while(|(name, _)| name.starts_with(prefix));
        matching.map(|(_, object)| object).collect()
    }

    pub(super) fn insert(&mut self, metadata: &ObjectMeta, object: T) -> Option<T> {
        let (namespace, name) = names(metadata);
        self.0.entry(namespace.to_owned()).or_default().insert(name.to_owned(), object)
    }

    pub(super) fn remove(&mut self, metadata: &ObjectMeta) -> Option<T> {
        let (namespace, name) = names(metadata);
        let all = self.0.get_mut(namespace)?;
        let removed = all.remove(name);
        if all.is_empty() {
            self.0.remove(namespace);
        }
        removed
    }
}

/// The namespace and the name; empty where there is none.
pub(super) fn names(metadata: &ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}
