//! Maps of objects that are kept as their changes say.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use client::Change;

/// A map that a kind is kept in.
pub(super) trait Kept<Key, Kind>: Extend<(Key, Arc<Kind>)> {
    /// Forgets all.
    fn forget_all(&mut self);
    /// Forgets one.
    fn forget(&mut self, key: &Key);
}

impl<Key: Hash + Eq, Kind> Kept<Key, Kind> for HashMap<Key, Arc<Kind>> {
    fn forget_all(&mut self) {
        self.clear();
    }
    fn forget(&mut self, key: &Key) {
        self.remove(key);
    }
}

impl<Key: Ord, Kind> Kept<Key, Kind> for BTreeMap<Key, Arc<Kind>> {
    fn forget_all(&mut self) {
        self.clear();
    }
    fn forget(&mut self, key: &Key) {
        self.remove(key);
    }
}

/// Keeps the objects of a kind by what `key` says of each.
pub(super) fn keep<Key, Kind>(
    map: &mut impl Kept<Key, Kind>,
    change: Change<Kind>,
    key: impl Fn(&Kind) -> Key,
) {
    match change {
        Change::Reset(objects, _) => {
            map.forget_all();
            map.extend(objects.into_iter().map(|object| (key(&object), object)));
        }
        Change::Apply(object) => map.extend([(key(&object), object)]),
        Change::Delete(object) => map.forget(&key(&object)),
    }
}
