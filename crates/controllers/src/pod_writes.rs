//! Making and deleting pods as every controller does that has a template: many beside each other, told as
//! events about their owner, all noted in the barrier. No choices here.

use std::sync::Arc;

use client::Client;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use model::status::Status;
use reconcile::barrier::Barrier;
use reconcile::recorder::{EventKind, Recorder};
use tokio::task::JoinSet;

use crate::writes::{self, Named};

/// Writes of one plan under way at once. A create takes a few milliseconds, most of it waiting for a group
/// commit; 64 of them in flight fill commits at well over 500 creates a second.
const IN_FLIGHT_MAX: usize = 64;

/// Writes pods in the name of their owner. Cheap to clone.
#[derive(Clone)]
pub struct PodWriter {
    /// The way to the API.
    pub client: Client,
    /// The way to people.
    pub recorder: Recorder,
    /// The owner, for events.
    pub about: ObjectReference,
    /// Where the pods are.
    pub namespace: String,
}

/// What came of several writes.
#[derive(Debug)]
pub struct Written {
    /// How many went through.
    pub count: usize,
    /// The first refusal.
    pub refusal: Option<Status>,
}

impl Written {
    /// An error if any was refused.
    pub fn all(self) -> Result<(), Status> {
        self.refusal.map_or(Ok(()), Err)
    }
}

impl PodWriter {
    fn tell(&self, kind: EventKind, reason: &str, message: String) {
        self.recorder.record(self.about.clone(), kind, reason, message);
    }

    /// One pod, then two, then four ...: a quota or a broken webhook is met by a few calls, not by all.
    pub async fn create(&self, pods: impl IntoIterator<Item = Arc<Pod>>, barrier: &mut Barrier) -> Written {
        let mut left = pods.into_iter().peekable();
        let (mut written, mut batch) = (Written { count: 0, refusal: None }, 1);
        while left.peek().is_some() && written.refusal.is_none() {
            let pods: Vec<Arc<Pod>> = left.by_ref().take(batch).collect();
            let creates = pods.into_iter().map(|pod| {
                let writer = self.clone();
                async move { writer.create_one(&pod).await }
            });
            let of_batch = at_once(creates, barrier).await;
            written.count += of_batch.count;
            written.refusal = of_batch.refusal;
            batch *= 2;
        }
        written
    }

    async fn create_one(self, pod: &Pod) -> (Barrier, Result<(), Status>) {
        let mut barrier = Barrier::default();
        let done = match self.client.create(pod).await {
            Ok(created) => {
                barrier.wrote(&*created);
                let name = created.metadata.name.as_deref().unwrap_or_default();
                self.tell(EventKind::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(refusal) if writes::is_namespace_terminating(&refusal) => Err(refusal),
            Err(refusal) => {
                self.tell(EventKind::Warning, "FailedCreate", format!("Error creating: {refusal}"));
                Err(refusal)
            }
        };
        (barrier, done)
    }

    /// Deletes pods.
    pub async fn delete(&self, pods: Vec<Named>, barrier: &mut Barrier) -> Written {
        let deletes = pods.into_iter().map(|pod| {
            let writer = self.clone();
            async move { writer.delete_one(&pod).await }
        });
        at_once(deletes, barrier).await
    }

    async fn delete_one(self, pod: &Named) -> (Barrier, Result<(), Status>) {
        let mut barrier = Barrier::default();
        let done = match writes::delete::<Pod>(&self.client, &self.namespace, pod, &mut barrier).await {
            Ok(()) => {
                self.tell(EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {}", pod.name));
                Ok(())
            }
            Err(refusal) if refusal.is_not_found() => Ok(()),
            Err(refusal) => {
                self.tell(EventKind::Warning, "FailedDelete", format!("Error deleting: {refusal}"));
                Err(refusal)
            }
        };
        (barrier, done)
    }

    /// Takes a finalizer off pods. One that is gone has none.
    pub async fn remove_finalizer(
        &self,
        pods: Vec<Named>,
        finalizer: &'static str,
        barrier: &mut Barrier,
    ) -> Written {
        let patches = pods.into_iter().map(|pod| {
            let writer = self.clone();
            async move {
                let mut barrier = Barrier::default();
                let (client, namespace) = (&writer.client, &writer.namespace);
                let done =
                    writes::remove_finalizer::<Pod>(client, namespace, &pod, finalizer, &mut barrier).await;
                (barrier, done)
            }
        });
        at_once(patches, barrier).await
    }
}

/// Runs writes beside each other, [`IN_FLIGHT_MAX`] at once; all of them, whatever fails.
async fn at_once<F>(writes: impl Iterator<Item = F>, barrier: &mut Barrier) -> Written
where
    F: Future<Output = (Barrier, Result<(), Status>)> + Send + 'static,
{
    let (mut writes, mut running) = (writes, JoinSet::new());
    let mut all = Written { count: 0, refusal: None };
    loop {
        while running.len() < IN_FLIGHT_MAX
            && let Some(write) = writes.next()
        {
            running.spawn(write);
        }
        let Some(finished) = running.join_next().await else { return all };
        let (written, done) =
            finished.unwrap_or_else(|error| (Barrier::default(), Err(Status::internal(error))));
        barrier.merge(written);
        match done {
            Ok(()) => all.count += 1,
            Err(refusal) => all.refusal = all.refusal.or(Some(refusal)),
        }
    }
}
