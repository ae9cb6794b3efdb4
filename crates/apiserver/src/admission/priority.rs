//! Every pod has a priority: its class's, the default class's, or none. Only one class is the default.

use async_trait::async_trait;
use model::resource::GroupVersionResource;
use model::status::Status;
use serde_json::Value;
use store::Range;

use super::{Operation, Plugin, Review};
use crate::api::Api;
use crate::codec;
use crate::request::Address;

const CLASSES: GroupVersionResource =
    GroupVersionResource::constant("scheduling.k8s.io", "v1", "priorityclasses");
/// What pods may do that have no class which says otherwise.
const POLICY: &str = "PreemptLowerPriority";

pub(super) struct Priority;

#[async_trait]
impl Plugin for Priority {
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
        let refuse =
            |detail: &str| Err(Status::forbidden(&review.address.kind.gvr, &review.address.name, detail));
        let name = object["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = if name.is_empty() { default_class(api)? } else { class(api, &name)? };
        if class.is_none() && !name.is_empty() {
            return refuse(&format!("no PriorityClass with name {name} was found"));
        }
        let of_class = |field: &str| class.as_ref().map(|class| class[field].clone());
        let value = of_class("value").and_then(|value| value.as_i64()).unwrap_or_default();
        let policy = of_class("preemptionPolicy").and_then(|policy| policy.as_str().map(str::to_owned));
        let policy = policy.unwrap_or_else(|| POLICY.to_owned());
        let spec = &mut object["spec"];
        if let Some(asked) = spec["priority"].as_i64().filter(|asked| *asked != value) {
            return refuse(&format!(
                "the integer value of priority ({asked}) must not be provided in pod spec; priority \
                 admission controller computed {value} from the given PriorityClass name"
            ));
        }
        if let Some(asked) = spec["preemptionPolicy"].as_str().filter(|asked| *asked != policy) {
            return refuse(&format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority \
                 admission controller computed {policy} from the given PriorityClass name"
            ));
        }
        if let Some(class) = class.filter(|_| name.is_empty()) {
            spec["priorityClassName"] = class["metadata"]["name"].clone();
        }
        spec["priority"] = value.into();
        spec["preemptionPolicy"] = policy.into();
        Ok(())
    }

    async fn validate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        new: Option<&Value>,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(new) = new.filter(|new| new["globalDefault"] == true) else { return Ok(()) };
        if !review.is("scheduling.k8s.io", "PriorityClass") {
            return Ok(());
        }
        let Some(other) = default_class(api)? else { return Ok(()) };
        let other = other["metadata"]["name"].as_str().unwrap_or_default();
        if other == new["metadata"]["name"] {
            return Ok(());
        }
        let detail =
            format!("PriorityClass {other} is already marked as default. Only one default can exist");
        Err(Status::forbidden(&review.address.kind.gvr, &review.address.name, &detail))
    }
}

fn class(api: &Api, name: &str) -> Result<Option<Value>, Status> {
    let Some(kind) = api.kind(&CLASSES) else { return Ok(None) };
    api.store.get(&Address::new(kind, "", name).key()).map(|entry| codec::value(&entry.object)).transpose()
}

/// The default class; of several that were made at once, that of the lowest value.
fn default_class(api: &Api) -> Result<Option<Value>, Status> {
    let Some(kind) = api.kind(&CLASSES) else { return Ok(None) };
    let range = Range { prefix: Address::new(kind, "", "").prefix(), ..Range::default() };
    let page = api.store.range(&range).map_err(Status::internal)?;
    let mut lowest: Option<Value> = None;
    for entry in &page.entries {
        let class = codec::value(&entry.object)?;
        let value = |class: &Value| class["value"].as_i64();
        if class["globalDefault"] == true && lowest.as_ref().is_none_or(|held| value(&class) < value(held)) {
            lowest = Some(class);
        }
    }
    Ok(lowest)
}
