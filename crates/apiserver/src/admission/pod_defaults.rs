//! What every pod gets that did not ask otherwise: five minutes on a node that is not ready.

use async_trait::async_trait;
use model::status::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::api::Api;

/// Upstream's default of `--default-not-ready-toleration-seconds` and its sibling.
const TOLERATION_SECONDS: i64 = 300;

pub(super) struct PodDefaults;

#[async_trait]
impl Plugin for PodDefaults {
    async fn mutate(
        &self,
        _api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        if review.operation != Operation::Create || !review.is("", "Pod") {
            return Ok(());
        }
        let Some(spec) = object["spec"].as_object_mut() else { return Ok(()) };
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        if tolerations.is_null() {
            *tolerations = json!([]);
        }
        if let Some(tolerations) = tolerations.as_array_mut() {
            for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
                if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
                    tolerations.push(json!({
                        "key": taint, "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": TOLERATION_SECONDS,
                    }));
                }
            }
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let field = |name: &str| toleration[name].as_str().unwrap_or_default();
    matches!(field("key"), "") && field("operator") == "Exists" && matches!(field("effect"), "" | "NoExecute")
        || field("key") == taint && matches!(field("effect"), "" | "NoExecute")
}
