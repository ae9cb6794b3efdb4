//! Writes what a namespace lacks, exactly as the plan says.

use std::sync::Arc;

use client::{Client, Typed};
use model::status::{Reason, Status};

use super::plan::Plan;
use reconcile::barrier::Barrier;
use reconcile::runner::Outcome;

/// A write that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {what}")]
pub struct WriteError {
    verb: &'static str,
    what: &'static str,
    #[source]
    source: Status,
}

/// Carries a plan out; pods wait for the account, so it comes first.
pub async fn execute(client: Client, plan: Plan) -> Outcome {
    let mut barrier = Barrier::default();
    let mut done = Ok(());
    if let Some(account) = plan.account {
        done = note(&mut barrier, "create", client.create(&account).await);
    }
    if let Some(map) = plan.create_map {
        done = done.and(note(&mut barrier, "create", client.create(&map).await));
    }
    if let Some(map) = plan.update_map {
        done = done.and(note(&mut barrier, "update", client.update(&map).await));
    }
    Outcome { barrier, error: done.err().map(Into::into) }
}

fn note<K: Typed>(
    barrier: &mut Barrier,
    verb: &'static str,
    written: Result<Arc<K>, Status>,
) -> Result<(), WriteError> {
    match written {
        Ok(object) => {
            barrier.wrote(&*object);
            Ok(())
        }
        // Somebody was faster, or the namespace is on its way out: the view will tell which.
        Err(status)
            if status.is_already_exists() || status.reason == Reason::NotFound || is_ending(&status) =>
        {
            Ok(())
        }
        Err(source) => Err(WriteError { verb, what: K::KIND, source }),
    }
}

fn is_ending(status: &Status) -> bool {
    status.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}
