//! Delete a collection: list, then delete one by one, in key order.

use model::status::Status;

use super::read::Listed;
use crate::api::Api;
use crate::request::{Address, Context, DeleteRequest, ListQuery};

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
        for object in &listed.objects {
            let metadata = object.metadata().map_err(Status::internal)?;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            let name = metadata.name.as_deref().unwrap_or_default();
            let address = Address::new(collection.kind, namespace, name);
            match self.delete(cx, &address, request).await {
                Ok(_) => {}
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        Ok(listed)
    }
}
