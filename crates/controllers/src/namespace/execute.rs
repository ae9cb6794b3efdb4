//! Looks into a namespace, deletes what [`super::plan`] says, and writes what remains into its conditions.

use std::sync::Arc;

use client::transport::{Body, Reply, Target, Verb};
use client::{Client, DeleteOptions, Propagation};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Namespace;
use model::clock::Clock;
use model::encoded::Revision;
use model::resource::GroupVersionResource;
use model::status::Status;

use super::plan::{self, Content, Next};
use super::waits::{Wait, Waits};
use super::{FINALIZER, NAME};
use crate::api_resource::ApiResource;
use crate::garbage_collector::source;
use reconcile::barrier::{Barrier, Removed};
use reconcile::runner::{ObjectKey, Outcome};

/// Looks in one execution: sets, pods and the rest are deleted in three, a fourth finds the namespace empty.
const LOOKS_MAX: usize = 4;

/// A call that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{what} in namespace {namespace}")]
pub struct CallError {
    what: String,
    namespace: String,
    #[source]
    source: Status,
}

/// What an execution works with. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    /// The way to the API.
    pub client: Client,
    /// For the conditions' times.
    pub clock: Arc<dyn Clock>,
    /// Every resource that lives in namespaces.
    pub contents: Arc<[ApiResource]>,
    /// Where to ask to be woken.
    pub waits: Waits,
}

/// Empties a namespace as far as it can be by now.
pub async fn execute(executor: Executor, namespace: Arc<Namespace>) -> Outcome {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let mut work = Work { executor, namespace, name, barrier: Barrier::default() };
    let done = work.empty().await;
    Outcome { barrier: work.barrier, error: done.err().map(Into::into) }
}

struct Work {
    executor: Executor,
    namespace: Arc<Namespace>,
    name: String,
    barrier: Barrier,
}

/// What a look found, and at which revision it saw each resource.
struct Found {
    contents: Vec<Content>,
    revisions: Vec<Revision>,
}

impl Work {
    fn error(&self, what: impl Into<String>, source: Status) -> CallError {
        CallError { what: what.into(), namespace: self.name.clone(), source }
    }

    async fn empty(&mut self) -> Result<(), CallError> {
        let contents = Arc::clone(&self.executor.contents);
        for _ in 0..LOOKS_MAX {
            let found = self.look().await?;
            match plan::next(&contents, &found.contents) {
                Next::Finalize => return self.finalize().await,
                Next::Wait => return self.wait(found).await,
                Next::Delete(resources) => {
                    for index in resources {
                        let Err(source) = self.delete_all(index).await else { continue };
                        let what = format!("delete all {}", contents[index].resource.resource);
                        let error = self.error(what, source);
                        let failure = format!("{error}: {}", error.source);
                        self.tell(&found.contents, Some(&failure)).await?;
                        return Err(error);
                    }
                }
            }
        }
        let found = self.look().await?;
        self.wait(found).await
    }

    fn collection(&self, index: usize) -> Target {
        Target {
            resource: self.executor.contents[index].resource.clone(),
            namespace: self.name.clone(),
            name: String::new(),
            subresource: "",
        }
    }

    async fn look(&self) -> Result<Found, CallError> {
        let mut found = Found { contents: Vec::new(), revisions: Vec::new() };
        for (index, resource) in self.executor.contents.iter().enumerate() {
            let listed = source::list(&self.executor.client, self.collection(index)).await;
            let (objects, revision) = listed
                .map_err(|status| self.error(format!("list {}", resource.resource.resource), status))?;
            found.revisions.push(revision);
            if objects.is_empty() {
                continue;
            }
            let GroupVersionResource { group, resource, .. } = &resource.resource;
            let mut content = Content {
                resource: index,
                name: format!("{resource}.{group}"),
                count: objects.len(),
                ..Content::default()
            };
            for object in &objects {
                content.fresh += usize::from(object.deletion_timestamp.is_none());
                for finalizer in &object.finalizers {
                    *content.finalizers.entry(finalizer.clone()).or_default() += 1;
                }
            }
            found.contents.push(content);
        }
        Ok(found)
    }

    async fn delete_all(&self, index: usize) -> Result<(), Status> {
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        let (verb, body) = (Verb::DeleteCollection, Body::Delete(options));
        self.executor.client.call(verb, self.collection(index), body).await.map(|_| ())
    }

    /// Says what remains, and asks to be woken when some of it goes.
    async fn wait(&mut self, found: Found) -> Result<(), CallError> {
        self.tell(&found.contents, None).await?;
        let remaining = found.contents.iter().map(|content| content.resource);
        let collections = remaining.map(|index| (self.collection(index), found.revisions[index]));
        let wait = Wait { key: ObjectKey::new("", self.name.as_str()), collections: collections.collect() };
        if self.executor.waits.send(wait).await.is_err() {
            tracing::debug!(controller = NAME, "nobody waits any more: the controller is being stopped");
        }
        Ok(())
    }

    async fn tell(&mut self, contents: &[Content], failure: Option<&str>) -> Result<(), CallError> {
        let now = self.executor.clock.now();
        let Some(conditions) = plan::conditions(&self.namespace, contents, failure, now) else {
            return Ok(());
        };
        let mut namespace = (*self.namespace).clone();
        namespace.status.get_or_insert_default().conditions = Some(conditions);
        let written = self.executor.client.update_status(&namespace).await;
        let written = written.map_err(|status| self.error("write the conditions", status))?;
        self.barrier.wrote(&*written);
        self.namespace = written;
        Ok(())
    }

    async fn finalize(&mut self) -> Result<(), CallError> {
        let mut namespace = (*self.namespace).clone();
        if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let resource =
            GroupVersionResource::constant(Namespace::GROUP, Namespace::VERSION, Namespace::URL_PATH_SEGMENT);
        let target =
            Target { resource, namespace: String::new(), name: self.name.clone(), subresource: "finalize" };
        let body = serde_json::to_value(&namespace).map_err(Status::internal);
        let body = body.map_err(|status| self.error("encode the namespace", status))?;
        match self.executor.client.call(Verb::Update, target, Body::Object(body)).await {
            // Somebody's own finalizer keeps the namespace itself.
            Ok(Reply::Object(object)) if has_finalizers(&namespace) => {
                self.barrier.wrote_at(Namespace::URL_PATH_SEGMENT, object.revision());
            }
            Ok(_) => self.gone(),
            Err(status) if status.is_not_found() => self.gone(),
            Err(status) => return Err(self.error("remove the finalizer", status)),
        }
        Ok(())
    }

    fn gone(&mut self) {
        self.barrier.removed(Removed {
            resource: Namespace::URL_PATH_SEGMENT,
            namespace: String::new(),
            name: self.name.clone(),
            uid: self.namespace.metadata.uid.clone().unwrap_or_default(),
        });
    }
}

fn has_finalizers(namespace: &Namespace) -> bool {
    let content = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    let own = namespace.metadata.finalizers.as_ref();
    [content, own].into_iter().flatten().any(|all| !all.is_empty())
}
