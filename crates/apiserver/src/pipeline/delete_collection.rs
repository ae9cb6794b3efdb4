//! Delete a collection: list, then delete in key order, a few at a time.

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use model::status::Status;

use super::read::Listed;
use crate::api::Api;
use crate::request::{Address, Context, DeleteRequest, ListQuery};

/// Deletions under way at once: they share the store's commits, and leave most of its queue to others.
const AT_ONCE: usize = 16;

impl Api {
    /// Deletes every object that `query` selects. Objects that went away meanwhile are no error.
    pub async fn delete_collection(
        &self,
        cx: &Context,
        collection: &Address,
        query: &ListQuery,
        request: &DeleteRequest,
    ) -> Result<Listed, Status> {
        let listed = self.list(collection, query)?;
        let mut running = FuturesOrdered::new();
        for object in &listed.objects {
            let metadata = object.metadata().map_err(Status::internal)?;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            let name = metadata.name.as_deref().unwrap_or_default();
            let address = Address::new(collection.kind, namespace, name);
            running.push_back(self.delete_if_there(cx, address, request));
            if running.len() >= AT_ONCE {
                running.next().await.transpose()?;
            }
        }
        while let Some(deleted) = running.next().await {
            deleted?;
        }
        Ok(listed)
    }
    async fn delete_if_there(
        &self,
        cx: &Context,
        address: Address,
        request: &DeleteRequest,
    ) -> Result<(), Status> {
        match self.delete(cx, &address, request).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(()),
        }
    }
}
