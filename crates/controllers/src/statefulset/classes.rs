//! Storage classes as far as claims that are to grow ask for them: which let volumes grow.
//!
//! Advice only: the API refuses what a class does not allow; until classes are known it is left to say so.

use std::collections::BTreeMap;

use client::Change;
use k8s_openapi::api::storage::v1::StorageClass;

/// The classes, once they have been listed: true for those that let volumes grow.
#[derive(Debug, Default)]
pub(super) struct Classes(Option<BTreeMap<String, bool>>);

impl Classes {
    /// Takes a change in; true when some claim may be able to grow now, or not any more.
    pub(super) fn apply(&mut self, change: &Change<StorageClass>) -> bool {
        let entry = |class: &StorageClass| {
            let name = class.metadata.name.clone().unwrap_or_default();
            (name, class.allow_volume_expansion.unwrap_or_default())
        };
        let before = self.0.clone();
        match (change, &mut self.0) {
            (Change::Reset(all, _), known) => *known = Some(all.iter().map(|class| entry(class)).collect()),
            (Change::Apply(class), Some(known)) => known.extend([entry(class)]),
            (Change::Delete(class), Some(known)) => {
                known.remove(&entry(class).0);
            }
            (Change::Apply(_) | Change::Delete(_), None) => {}
        }
        self.0 != before
    }

    /// True when claims of a class can grow, as far as is known.
    pub(super) fn let_grow(&self, class: &str) -> bool {
        self.0.as_ref().is_none_or(|known| known.get(class).copied().unwrap_or_default())
    }
}
