//! Writes the rules into the kernel.
//!
//! Makes no choices: which rules differ is [`super::plan`]'s. After a refusal nothing is known of the
//! kernel's side, and the next call writes everything.

use crate::config::NetworkConfig;
use crate::conntrack::{self, Kept};
use crate::nft::{self, NftError};
use crate::proxy::plan::{self, Applied};
use crate::proxy::view::View;

/// Remembers what the kernel shows.
pub struct Executor {
    config: NetworkConfig,
    /// `None`: not known.
    applied: Option<Applied>,
}

impl Executor {
    /// Nothing is known of the kernel yet.
    pub fn new(config: NetworkConfig) -> Executor {
        Executor { config, applied: None }
    }

    /// Makes the kernel show what the view wants.
    pub async fn carry_out(&mut self, view: &mut View) -> Result<(), NftError> {
        let changed = view.take_changed();
        let Some(mut applied) = self.applied.take() else {
            let wanted = wanted(view, view.all().into_iter());
            nft::run(&plan::whole(&self.config, &wanted)).await?;
            forget(plan::broken_flows(&Applied::new(), &wanted)).await;
            self.applied = Some(wanted);
            return Ok(());
        };
        let old: Applied =
            changed.iter().filter_map(|key| applied.remove(key).map(|rules| (key.clone(), rules))).collect();
        let new = wanted(view, changed.into_iter());
        let script = plan::changes(&self.config, &old, &new);
        if !script.is_empty() {
            nft::run(&script).await?;
            forget(plan::broken_flows(&old, &new)).await;
        }
        applied.extend(new);
        self.applied = Some(applied);
        Ok(())
    }
}

/// After the rules: a flow that begins meanwhile follows the new ones. A kernel that will not is no reason to
/// write the rules again; such flows end once they are silent.
async fn forget(broken: Kept) {
    if broken.is_empty() {
        return;
    }
    let done = tokio::task::spawn_blocking(move || conntrack::forget(&broken)).await;
    match done.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "forgot UDP flows to endpoints that are gone"),
        Err(error) => tracing::warn!("UDP flows to endpoints that are gone may go on: {error}"),
    }
}

fn wanted(view: &View, keys: impl Iterator<Item = (String, String)>) -> Applied {
    keys.map(|key| {
        let rules = view.rules(&key);
        (key, rules)
    })
    .filter(|(_, rules)| !rules.is_empty())
    .collect()
}
