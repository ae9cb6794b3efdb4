//! Maps of objects that are kept as their changes say.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use client::Change;

/// Keeps the objects of a kind by what `key` says of each.
pub(super) fn keep<Key: Hash + Eq, Kind>(
    map: &mut HashMap<Key, Arc<Kind>>,
    change: Change<Kind>,
    key: impl Fn(&Kind) -> Key,
) {
    match change {
        Change::Reset(objects, _) => {
            map.clear();
            map.extend(objects.into_iter().map(|object| (key(&object), object)));
        }
        Change::Apply(object) => {
            map.insert(key(&object), object);
        }
        Change::Delete(object) => {
            map.remove(&key(&object));
        }
    }
}
