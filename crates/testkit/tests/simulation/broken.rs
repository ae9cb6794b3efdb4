//! Parts that break rules, to prove that the checkers see it.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, DeleteOptions, PatchKind, Scope};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use serde_json::json;

use crate::dice::Dice;

/// Deletes claims that nobody asked it to.
pub(crate) async fn eat_claims(client: Client, dice: Arc<Dice>) {
    let client = client.named("claim-eater");
    loop {
        tokio::time::sleep(dice.pause(10_000)).await;
        let Ok((claims, _)) = client.list::<PersistentVolumeClaim>(&Scope::default()).await else { continue };
        for claim in claims {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let options = DeleteOptions::default();
            let _ = client.delete::<PersistentVolumeClaim>("default", name, options).await;
        }
    }
}

/// Writes the same object anew, again and again.
pub(crate) async fn scribble(client: Client) {
    let client = client.named("scribbler");
    for round in 0_u64.. {
        tokio::time::sleep(Duration::from_secs(7)).await;
        let patch = json!({ "metadata": { "annotations": { "round": round.to_string() } } });
        let _ = client.patch::<Namespace>("", "default", "", PatchKind::Merge, patch).await;
    }
}
