//! Carries a step out, after having looked whether what it rests on is true.
//!
//! Every write carries the uid and the revision of the object as it was just read. What has changed
//! meanwhile is an error, after which the collector decides again; it never writes on a guess.

use std::sync::Arc;

use client::transport::{Body, Reply, Target, Verb};
use client::{Client, DeleteOptions, PatchKind, Precondition, Propagation};
use futures::{StreamExt, TryStreamExt, stream};
use model::meta::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use model::status::Status;
use serde_json::{Value, json};

use super::plan::{Step, Suspect};
use super::source::{self, Metadata};
use super::view::{Object, Resources};
use reconcile::barrier::{Barrier, Removed};
use reconcile::runner::Outcome;

/// Dependents of one owner that are orphaned at once: they fill a group commit.
const ORPHANING_MAX: usize = 16;

/// A step and the object it is for.
#[derive(Debug)]
pub struct Task {
    /// The object.
    pub object: Object,
    /// What to do to it.
    pub step: Step,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// An owner that seemed to be gone is there.
    #[error("owner {name} of {object} is there after all")]
    OwnerIsThere {
        /// The dependent.
        object: String,
        /// The owner.
        name: String,
    },
    /// The object has other owners than those that were decided about.
    #[error("the owners of {object} have changed")]
    OwnersChanged {
        /// The dependent.
        object: String,
    },
    /// A call was refused.
    #[error("{what} {object}")]
    Refused {
        /// The call.
        what: &'static str,
        /// The object.
        object: String,
        /// The refusal.
        #[source]
        source: Status,
    },
}

/// Carries a step out.
pub async fn execute(client: Client, resources: Arc<Resources>, task: Task) -> Outcome {
    let Task { object, step } = task;
    let mut work = Work { client, resources, object, barrier: Barrier::default() };
    let done = match step {
        Step::Delete { owners, foreground, unblock } => work.delete(&owners, foreground, unblock).await,
        Step::Forget { owners } => work.forget(&owners).await,
        Step::FinishForeground => work.let_go(FINALIZER_FOREGROUND).await,
        Step::Orphan => work.orphan().await,
    };
    Outcome { barrier: work.barrier, error: done.err().map(Into::into) }
}

struct Work {
    client: Client,
    resources: Arc<Resources>,
    object: Object,
    barrier: Barrier,
}

impl Work {
    fn refused(&self, what: &'static str) -> impl FnOnce(Status) -> StepError + use<> {
        let object = self.object.to_string();
        move |source| StepError::Refused { what, object, source }
    }

    fn target(&self, resource: usize, namespace: &str, name: &str) -> Target {
        let mut target = self.resources.collection(resource, namespace);
        name.clone_into(&mut target.name);
        target
    }

    fn own_target(&self) -> Target {
        self.target(self.object.resource, &self.object.key.namespace, &self.object.key.name)
    }

    fn gone(&mut self) {
        self.barrier.removed(Removed {
            resource: self.resources.name(self.object.resource),
            namespace: self.object.key.namespace.clone(),
            name: self.object.key.name.clone(),
            uid: self.object.uid.clone(),
        });
    }

    /// The object as it is now, with its tree; `None` when it is gone or another.
    async fn live(&mut self) -> Result<Option<(Metadata, Value)>, StepError> {
        let read = read(&self.client, self.own_target()).await.map_err(self.refused("read"))?;
        let read = read.filter(|(metadata, _)| metadata.uid == self.object.uid);
        if read.is_none() {
            self.gone();
        }
        Ok(read)
    }

    /// An error when one of the owners is there and does not wait for its dependents.
    async fn confirm(&self, owners: &[Suspect]) -> Result<(), StepError> {
        for owner in owners {
            let target = self.target(owner.resource, &owner.namespace, &owner.name);
            let read = read(&self.client, target).await.map_err(self.refused("look for the owners of"))?;
            let Some((live, _)) = read.filter(|(live, _)| live.uid == owner.uid) else { continue };
            let waits = live.deletion_timestamp.is_some() && has(&live, FINALIZER_FOREGROUND);
            if !waits {
                let (object, name) = (self.object.to_string(), owner.name.clone());
                return Err(StepError::OwnerIsThere { object, name });
            }
        }
        Ok(())
    }

    async fn delete(&mut self, owners: &[Suspect], foreground: bool, unblock: bool) -> Result<(), StepError> {
        let Some((mut live, tree)) = self.live().await? else { return Ok(()) };
        let decided = |uid: &str| owners.iter().any(|owner| owner.uid == uid);
        if live.owner_references.is_empty()
            || !live.owner_references.iter().all(|reference| decided(&reference.uid))
        {
            return Err(StepError::OwnersChanged { object: self.object.to_string() });
        }
        self.confirm(owners).await?;
        if unblock {
            let mut references = tree["metadata"]["ownerReferences"].clone();
            for reference in references.as_array_mut().into_iter().flatten() {
                reference["blockOwnerDeletion"] = false.into();
            }
            let written = self.patch(&live, json!({ "ownerReferences": references })).await?;
            live.resource_version = written;
        }
        let propagation = if has(&live, FINALIZER_ORPHAN) {
            Propagation::Orphan
        } else if foreground || has(&live, FINALIZER_FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        let options = DeleteOptions {
            grace_period_seconds: None,
            propagation: Some(propagation),
            precondition: Precondition {
                uid: Some(live.uid.clone()),
                resource_version: Some(live.resource_version.clone()),
            },
        };
        let deleted = self.client.call(Verb::Delete, self.own_target(), Body::Delete(options)).await;
        match deleted {
            Ok(_) => {}
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(self.refused("delete")(status)),
        }
        self.gone();
        Ok(())
    }

    async fn forget(&mut self, owners: &[Suspect]) -> Result<(), StepError> {
        let Some((live, tree)) = self.live().await? else { return Ok(()) };
        self.confirm(owners).await?;
        let forgotten = |uid: &str| owners.iter().any(|owner| owner.uid == uid);
        let kept = references_without(&tree, forgotten);
        self.patch(&live, json!({ "ownerReferences": kept })).await.map(|_| ())
    }

    /// Takes a finalizer off the object.
    async fn let_go(&mut self, finalizer: &str) -> Result<(), StepError> {
        let Some((live, _)) = self.live().await? else { return Ok(()) };
        if !has(&live, finalizer) {
            return Ok(());
        }
        let kept: Vec<&String> = live.finalizers.iter().filter(|one| *one != finalizer).collect();
        let is_last = kept.is_empty();
        let kept = if is_last { Value::Null } else { json!(kept) };
        self.patch(&live, json!({ "finalizers": kept })).await?;
        Ok(())
    }

    /// The dependents are looked up anew: one that the graph has not seen yet would be taken for one whose
    /// owner is gone, and be deleted.
    async fn orphan(&mut self) -> Result<(), StepError> {
        let namespaced_owner = self.resources.get(self.object.resource).namespaced;
        for index in 0..self.resources.len() {
            let is_namespaced = self.resources.get(index).namespaced;
            if namespaced_owner && !is_namespaced {
                continue;
            }
            let namespace = if namespaced_owner { self.object.key.namespace.as_str() } else { "" };
            let collection = self.resources.collection(index, namespace);
            let listed = source::list(&self.client, collection).await;
            let (objects, _) = listed.map_err(self.refused("list dependents of"))?;
            let uid = &self.object.uid;
            let owned = objects
                .into_iter()
                .filter(|object| object.owner_references.iter().any(|reference| reference.uid == *uid));
            let release = owned.map(|dependent| {
                let target = self.target(index, &dependent.namespace, &dependent.name);
                release(self.client.clone(), target, dependent.uid, uid.clone())
            });
            let released = stream::iter(release).buffer_unordered(ORPHANING_MAX).try_collect::<()>().await;
            released.map_err(self.refused("orphan dependents of"))?;
        }
        self.let_go(FINALIZER_ORPHAN).await
    }

    /// Merges into the object's metadata, if it is as it was read; returns its new revision.
    async fn patch(&mut self, live: &Metadata, mut change: Value) -> Result<String, StepError> {
        change["uid"] = live.uid.as_str().into();
        change["resourceVersion"] = live.resource_version.as_str().into();
        let body = Body::Patch(PatchKind::Merge, json!({ "metadata": change }));
        match self.client.call(Verb::Patch, self.own_target(), body).await {
            Ok(Reply::Object(object)) => {
                let metadata = source::metadata(&object).map_err(self.refused("decode"))?;
                if metadata.deletion_timestamp.is_some() && metadata.finalizers.is_empty() {
                    self.gone();
                } else {
                    self.barrier.wrote_at(self.resources.name(self.object.resource), object.revision());
                }
                Ok(metadata.resource_version)
            }
            Ok(Reply::Done | Reply::List(..)) => {
                self.gone();
                Ok(String::new())
            }
            Err(status) if status.is_not_found() => {
                self.gone();
                Ok(String::new())
            }
            Err(status) => Err(self.refused("patch")(status)),
        }
    }
}

fn has(metadata: &Metadata, finalizer: &str) -> bool {
    metadata.finalizers.iter().any(|one| one == finalizer)
}

fn references_without(tree: &Value, forgotten: impl Fn(&str) -> bool) -> Value {
    let references = tree["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let kept: Vec<&Value> =
        references.filter(|reference| !forgotten(reference["uid"].as_str().unwrap_or_default())).collect();
    if kept.is_empty() { Value::Null } else { json!(kept) }
}

async fn read(client: &Client, target: Target) -> Result<Option<(Metadata, Value)>, Status> {
    match client.call(Verb::Get, target, Body::Empty).await {
        Ok(Reply::Object(object)) => {
            let tree = object.value().map_err(Status::internal)?;
            Ok(Some((source::metadata(&object)?, tree)))
        }
        Ok(Reply::List(..) | Reply::Done) => Err(Status::internal("a read was answered by no object")),
        Err(status) if status.is_not_found() => Ok(None),
        Err(status) => Err(status),
    }
}

/// Takes the references to an owner off one dependent, unless it is gone or another by now.
async fn release(client: Client, target: Target, uid: String, owner: String) -> Result<(), Status> {
    let Some((live, tree)) = read(&client, target.clone()).await? else { return Ok(()) };
    let is_owned = live.owner_references.iter().any(|reference| reference.uid == owner);
    if live.uid != uid || !is_owned {
        return Ok(());
    }
    let patch = json!({ "metadata": {
        "uid": live.uid,
        "resourceVersion": live.resource_version,
        "ownerReferences": references_without(&tree, |one| one == owner),
    }});
    match client.call(Verb::Patch, target, Body::Patch(PatchKind::Merge, patch)).await {
        Ok(_) => Ok(()),
        Err(status) if status.is_not_found() => Ok(()),
        Err(status) => Err(status),
    }
}
