//! What has a URL of its own below an object: `scale`, `binding`, `eviction`, `log`, `exec`, `attach`.
//!
//! `status` and `finalize` are parts of the object and need no code here ([`crate::pipeline::modify::Part`]).

pub(crate) mod binding;
mod channels;
pub(crate) mod container;
mod disruption;
pub(crate) mod eviction;
pub(crate) mod exec;
pub(crate) mod log;
pub(crate) mod scale;

use model::status::Status;

use crate::api::Api;
use crate::kind::Subresource;
use crate::request::{Address, Context, Input, WriteOptions};

/// A POST to a subresource that answers with no object.
pub(crate) async fn post(
    api: &Api,
    cx: &Context,
    address: &Address,
    subresource: &str,
    input: Input,
    options: &WriteOptions,
) -> Result<(), Status> {
    let has = |one: Subresource| address.kind.subresources.contains(&one);
    match subresource {
        "binding" if has(Subresource::Binding) => {
            binding::post(api, cx, address, &input.value, options).await
        }
        "eviction" if has(Subresource::Eviction) => {
            eviction::post(api, cx, address, &input.value, options).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}
