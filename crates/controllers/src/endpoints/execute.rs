//! Carries a plan out, exactly as it says.
//!
//! Updates carry the revision that was decided about and deletions the uid, so that a late plan fails
//! instead of doing harm. Slices and Endpoints are written side by side: neither waits for the other.

use client::{Client, DeleteOptions, Precondition, Typed};
use futures::future::join_all;
use futures::join;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::status::Status;

use super::plan::{EndpointsWrite, Plan};
use super::slices::SliceWrites;
use reconcile::barrier::{Barrier, Removed};
use reconcile::runner::Outcome;

/// A write that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct WriteError {
    what: String,
    #[source]
    source: Status,
}

type Written = Result<Barrier, WriteError>;

/// Carries a plan out.
pub async fn execute(client: Client, plan: Plan) -> Outcome {
    let Plan { namespace, name, slices, endpoints, .. } = plan;
    let (slices, endpoints) = join!(
        write_slices(&client, &namespace, slices),
        write_endpoints(&client, &namespace, &name, endpoints),
    );
    outcome_of(slices.into_iter().chain([endpoints]))
}

/// Carries out what is to be done to slices alone.
pub async fn execute_slices(client: Client, namespace: String, writes: SliceWrites) -> Outcome {
    outcome_of(write_slices(&client, &namespace, writes).await)
}

fn outcome_of(all: impl IntoIterator<Item = Written>) -> Outcome {
    let mut outcome = Outcome::default();
    for written in all {
        match written {
            Ok(barrier) => outcome.barrier.merge(barrier),
            Err(error) => {
                outcome.error.get_or_insert_with(|| error.into());
            }
        }
    }
    outcome
}

async fn write_slices(client: &Client, namespace: &str, writes: SliceWrites) -> Vec<Written> {
    let SliceWrites { create, update, delete } = writes;
    let create = create.iter().map(|slice| async move {
        let created = client.create(slice).await;
        wrote("create a slice".to_owned(), created.map(|slice| of(&*slice)))
    });
    let update = update.iter().map(|slice| async move {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        let updated = client.update(slice).await;
        wrote(format!("update slice {name}"), updated.map(|slice| of(&*slice)))
    });
    let delete = delete.iter().map(|(name, uid)| async move {
        let deleted = remove::<EndpointSlice>(client, namespace, name, uid).await;
        wrote(format!("delete slice {name}"), deleted)
    });
    let (mut created, updated, deleted) = join!(join_all(create), join_all(update), join_all(delete));
    created.extend(updated);
    created.extend(deleted);
    created
}

async fn write_endpoints(
    client: &Client,
    namespace: &str,
    name: &str,
    write: Option<EndpointsWrite>,
) -> Written {
    let (verb, written) = match write {
        None => return Ok(Barrier::default()),
        Some(EndpointsWrite::Create(endpoints)) => {
            ("create", client.create::<Endpoints>(&endpoints).await.map(|endpoints| of(&*endpoints)))
        }
        Some(EndpointsWrite::Update(endpoints)) => {
            ("update", client.update::<Endpoints>(&endpoints).await.map(|endpoints| of(&*endpoints)))
        }
        Some(EndpointsWrite::Delete { uid }) => {
            ("delete", remove::<Endpoints>(client, namespace, name, &uid).await)
        }
    };
    wrote(format!("{verb} endpoints {name}"), written)
}

fn of<K: Typed>(object: &K) -> Barrier {
    let mut barrier = Barrier::default();
    barrier.wrote(object);
    barrier
}

fn wrote(what: String, written: Result<Barrier, Status>) -> Written {
    written.map_err(|source| WriteError { what, source })
}

async fn remove<K: Typed>(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Barrier, Status> {
    let precondition = Precondition { uid: Some(uid.to_owned()), resource_version: None };
    let options = DeleteOptions { precondition, ..DeleteOptions::default() };
    match client.delete::<K>(namespace, name, options).await {
        Ok(()) => {}
        Err(status) if status.is_not_found() => {}
        Err(status) => return Err(status),
    }
    let mut barrier = Barrier::default();
    barrier.removed(Removed {
        resource: <K as Resource>::URL_PATH_SEGMENT,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
    });
    Ok(barrier)
}
