//! Fetching the objects that a pod refers to.
//!
//! Each start reads them anew, so that a pod created right after its ConfigMap never sees an old picture.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Client, Scope, Typed};
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret, Service};
use model::status::Status;

use crate::env::Sources;

/// Names of ConfigMaps and Secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

impl References {
    /// What the environment of a container refers to.
    pub fn add_environment(&mut self, container: &Container) {
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            self.config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
            self.secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
        }
        for from in container.env_from.iter().flatten() {
            self.config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
            self.secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
        }
    }

    /// What the volumes of a pod refer to.
    pub fn add_volumes(&mut self, spec: &PodSpec) {
        for volume in spec.volumes.iter().flatten() {
            self.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
            self.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
                self.config_maps.extend(source.config_map.iter().map(|map| map.name.clone()));
                self.secrets.extend(source.secret.iter().map(|secret| secret.name.clone()));
            }
        }
    }

    /// Everything a pod refers to.
    pub fn of(spec: &PodSpec) -> References {
        let mut references = References::default();
        references.add_volumes(spec);
        for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
            references.add_environment(container);
        }
        references
    }

    /// Reads them all.
    pub async fn fetch(&self, client: &Client, namespace: &str) -> Result<Sources, Status> {
        let mut sources = Sources::default();
        for name in &self.config_maps {
            let found = optional::<ConfigMap>(client, namespace, name).await?;
            sources.config_maps.insert(name.clone(), found);
        }
        for name in &self.secrets {
            let found = optional::<Secret>(client, namespace, name).await?;
            sources.secrets.insert(name.clone(), found);
        }
        Ok(sources)
    }
}

/// The services that the pod's environment names: those of its namespace if it wants them, and always the
/// API's own.
pub async fn services(client: &Client, namespace: &str, links: bool) -> Result<Vec<Arc<Service>>, Status> {
    let mut services = Vec::new();
    if links {
        let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
        services = client.list::<Service>(&scope).await?.0;
    }
    let has_own = services.iter().any(|service| {
        let metadata = &service.metadata;
        metadata.name.as_deref() == Some("kubernetes") && metadata.namespace.as_deref() == Some("default")
    });
    if !has_own {
        services.extend(optional::<Service>(client, "default", "kubernetes").await?);
    }
    Ok(services)
}

async fn optional<K: Typed>(client: &Client, namespace: &str, name: &str) -> Result<Option<Arc<K>>, Status> {
    match client.get::<K>(namespace, name).await {
        Ok(object) => Ok(Some(object)),
        Err(status) if status.is_not_found() => Ok(None),
        Err(status) => Err(status),
    }
}
