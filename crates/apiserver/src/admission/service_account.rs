//! Every pod runs as a service account that exists.

use std::time::Duration;

use async_trait::async_trait;
use model::resource::GroupVersionResource;
use model::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::api::Api;
use crate::request::Address;

const SERVICE_ACCOUNTS: GroupVersionResource = GroupVersionResource::constant("", "v1", "serviceaccounts");
/// A new namespace gets its account a moment later: so often a pod waits for it…
const DEFAULT_TRIES: usize = 10;
/// …and so long each time, one second together.
const DEFAULT_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    async fn mutate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        if review.operation != Operation::Create || !review.is("", "Pod") || !object["spec"].is_object() {
            return Ok(());
        }
        let Some(kind) = api.kind(&SERVICE_ACCOUNTS) else { return Ok(()) };
        let spec = &object["spec"];
        let asked = [&spec["serviceAccountName"], &spec["serviceAccount"]]
            .into_iter()
            .filter_map(Value::as_str)
            .find(|name| !name.is_empty());
        let name = asked.unwrap_or("default").to_owned();
        object["spec"]["serviceAccountName"] = name.as_str().into();
        object["spec"]["serviceAccount"] = name.as_str().into();
        let namespace = &review.address.namespace;
        let key = Address::new(kind, namespace, &name).key();
        let tries = if name == "default" { DEFAULT_TRIES } else { 1 };
        for attempt in 0..tries {
            if api.store.get(&key).is_some() {
                return Ok(());
            }
            if attempt + 1 < tries {
                tokio::time::sleep(DEFAULT_PAUSE).await;
            }
        }
        let detail =
            format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        Err(Status::forbidden(&review.address.kind.gvr, &review.address.name, &detail))
    }
}
