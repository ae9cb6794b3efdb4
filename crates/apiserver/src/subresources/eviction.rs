//! `pods/eviction`: a deletion that asks first.
//!
//! The place where disruption budgets will be asked; there are none yet.

use model::status::Status;
use serde_json::Value;

use crate::api::Api;
use crate::pipeline::{delete, metadata};
use crate::request::{Address, Context, WriteOptions};

/// Evicts the pod at `address`.
pub(crate) async fn post(
    api: &Api,
    cx: &Context,
    address: &Address,
    eviction: &Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    let name = metadata::text(eviction, "name");
    if !name.is_empty() && name != address.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut request = delete::options(&eviction["deleteOptions"])?;
    request.dry_run |= options.dry_run;
    api.delete(cx, address, &request).await?;
    Ok(())
}
