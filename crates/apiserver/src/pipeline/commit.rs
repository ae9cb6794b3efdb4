//! One write to the store, with the conditions it stands on, and what its failures mean to a client.

use std::sync::Arc;

use model::encoded::{Encoded, Revision};
use model::status::{Reason, Status};
use serde_json::Value;
use store::{CommitError, Compare, Expected, Op, Txn};

use crate::api::Api;
use crate::codec;
use crate::request::Address;

/// How a commit ended when it did not simply fail.
pub(crate) enum Outcome {
    /// It is durable; this is the object (for a deletion its final version).
    Done(Arc<Encoded>),
    /// The object itself was not as expected.
    Outdated,
    /// Something that the write rests on changed meanwhile (its namespace, an address it wanted).
    Disturbed,
}

impl Api {
    /// Writes `object` where `expected` holds, together with `companions`.
    pub(crate) async fn put(
        &self,
        address: &Address,
        object: &Value,
        expected: Expected,
        companions: Txn,
    ) -> Result<Outcome, Status> {
        let value = codec::template(address.kind, object)?;
        let key = address.key();
        let op = Op::Put { key: key.clone(), value, ttl_seconds: address.kind.ttl_seconds };
        self.write(address, key, op, expected, companions).await
    }

    /// Removes the object that is at `revision`; watchers see `last` as its final version.
    pub(crate) async fn remove(
        &self,
        address: &Address,
        revision: Revision,
        last: &Value,
        companions: Txn,
    ) -> Result<Outcome, Status> {
        let last = Some(codec::template(address.kind, last)?);
        let key = address.key();
        let op = Op::Delete { key: key.clone(), last };
        self.write(address, key, op, Expected::At(revision), companions).await
    }

    async fn write(
        &self,
        address: &Address,
        key: String,
        op: Op,
        expected: Expected,
        companions: Txn,
    ) -> Result<Outcome, Status> {
        let mut txn = Txn { compares: vec![Compare { key: key.clone(), expected }], ops: vec![op] };
        txn.compares.extend(companions.compares);
        txn.ops.extend(companions.ops);
        match self.store.commit(txn).await {
            Ok(commit) => match commit.entries.into_iter().next().flatten() {
                Some(entry) => codec::present(address.kind, &entry.object).map(Outcome::Done),
                None => Ok(Outcome::Outdated),
            },
            Err(CommitError::Conflict { key: at, .. }) if at == key => Ok(Outcome::Outdated),
            Err(CommitError::Conflict { .. }) => Ok(Outcome::Disturbed),
            Err(error) => Err(refused(&error)),
        }
    }
}

fn refused(error: &CommitError) -> Status {
    match error {
        CommitError::Full { detail } => {
            let text = format!("the store has no room, writes are refused until there is: {detail}");
            Status::new(Reason::InsufficientStorage, text)
        }
        CommitError::Refused { detail } => {
            Status::new(Reason::RequestEntityTooLarge, format!("the store refuses the write: {detail}"))
        }
        CommitError::Closed => Status::new(Reason::ServiceUnavailable, "the server is shutting down"),
        CommitError::Unknown { .. } | CommitError::Conflict { .. } => Status::internal(error),
    }
}
