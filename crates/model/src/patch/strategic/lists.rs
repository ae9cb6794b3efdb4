//! Merging of lists: as sets of plain values, and item by item by a key.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;

use serde_json::Value;

use super::{Merger, Object, order, without_directives};
use crate::patch::error::{OBJECT, PatchError, list_text};
use crate::schema::types::Definition;

/// Merges two lists of plain values into one without duplicates.
pub(super) fn set(old: &[Value], patch: &[Value]) -> Result<Vec<Value>, PatchError> {
    same_types(old, patch)?;
    if patch.iter().any(Value::is_object) || old.iter().any(Value::is_object) {
        return Err(PatchError::NoDeclaredKey("list".to_owned()));
    }
    let mut seen = HashSet::new();
    let merged: Vec<Value> = old.iter().chain(patch).filter(|value| seen.insert(*value)).cloned().collect();
    order::arrange(merged, patch, old, None)
}

/// All items of both lists must be of one type, and that must not be a list.
pub(super) fn same_types(old: &[Value], patch: &[Value]) -> Result<(), PatchError> {
    let mut items = old.iter().chain(patch);
    let Some(first) = items.next() else { return Ok(()) };
    if first.is_array() {
        return Err(PatchError::ListOfLists);
    }
    if items.any(|item| discriminant(item) != discriminant(first)) {
        return Err(PatchError::MixedList(format!("[{} {}]", list_text(old), list_text(patch))));
    }
    Ok(())
}

impl<'a> Merger<'a> {
    /// Merges a list item by item, by the key.
    pub(super) fn keyed_list(
        &self,
        old: Vec<Value>,
        patch: Vec<Value>,
        key: &'static str,
        item: Option<&'a Definition>,
    ) -> Result<Vec<Value>, PatchError> {
        same_types(&old, &patch)?;
        let patch = Instructions::read(patch, key)?;
        if patch.replace {
            return Ok(patch.items);
        }
        let mut merged = old;
        merged.retain(|item| item.get(key).is_none_or(|value| !patch.deleted.contains(value)));
        let server_order = merged.clone();
        let wanted = patch.items.clone();
        // The first item with a key is the one that is merged into; a key may repeat (two ports with one
        // number), and the other items then stay as they are.
        let mut places: HashMap<Value, usize> = HashMap::with_capacity(merged.len());
        for (at, item) in merged.iter().enumerate() {
            if let Some(value) = item.get(key) {
                places.entry(value.clone()).or_insert(at);
            }
        }
        for new in patch.items {
            let Value::Object(new) = new else { continue };
            let value = new.get(key).cloned().ok_or_else(|| PatchError::no_merge_key(&new, key))?;
            match places.get(&value) {
                Some(&at) => {
                    let Value::Object(old) = merged[at].take() else { continue };
                    merged[at] = Value::Object(self.object(old, new, item)?);
                }
                None => {
                    places.insert(value, merged.len());
                    merged.extend(without_directives(Value::Object(new)));
                }
            }
        }
        order::arrange(merged, &wanted, &server_order, Some(key))
    }
}

/// A patch's list, its directives read.
struct Instructions {
    items: Vec<Value>,
    deleted: HashSet<Value>,
    replace: bool,
}

impl Instructions {
    fn read(patch: Vec<Value>, key: &'static str) -> Result<Instructions, PatchError> {
        let mut read = Instructions { items: Vec::new(), deleted: HashSet::new(), replace: false };
        for item in patch {
            let Value::Object(map) = item else { return Err(PatchError::wrong_type(OBJECT, &item)) };
            read.item(map, key)?;
        }
        Ok(read)
    }

    fn item(&mut self, map: Object, key: &'static str) -> Result<(), PatchError> {
        match map.get(super::PATCH).map(|directive| (directive, directive.as_str())) {
            None if map.contains_key(key) => self.items.push(Value::Object(map)),
            Some((_, Some("delete"))) if map.contains_key(key) => {
                self.deleted.insert(map[key].clone());
            }
            None | Some((_, Some("delete"))) => return Err(PatchError::no_merge_key(&map, key)),
            Some((_, Some("replace"))) => self.replace = true,
            Some((_, Some("merge"))) => return Err(PatchError::MergeDirectiveInList),
            Some((directive, _)) => return Err(PatchError::unknown_directive(directive, &map)),
        }
        Ok(())
    }
}
