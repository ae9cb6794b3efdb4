//! The order of a merged list.
//!
//! Items that the patch orders stand in the patch's order, the others in the order they had; where the
//! two meet, an item that only the server knows comes before one of the patch if it came before it in the
//! old list, and after it otherwise.

use std::collections::HashMap;

use serde_json::Value;

use crate::patch::error::{OBJECT, PatchError, list_text};

/// What tells the items of a list apart: the value of the key, or the plain value itself.
fn identity<'v>(item: &'v Value, key: Option<&'static str>) -> Result<&'v Value, PatchError> {
    let Some(key) = key else { return Ok(item) };
    let map = item.as_object().ok_or_else(|| PatchError::wrong_type(OBJECT, item))?;
    map.get(key).ok_or_else(|| PatchError::no_merge_key(map, key))
}

/// Checks that the patch's items are among those ordered, and in that order. Items to be deleted are not
/// looked at, and an empty list agrees with everything.
pub(super) fn check(patch: &[Value], wanted: &[Value], key: Option<&'static str>) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut wanted_left = wanted.iter();
    for item in patch.iter().filter(|item| item.get(super::PATCH).is_none()) {
        let this = identity(item, key)?;
        let mut found = false;
        for other in wanted_left.by_ref() {
            if identity(other, key)? == this {
                found = true;
                break;
            }
        }
        if !found {
            return Err(PatchError::OrderMismatch { patch: list_text(patch), order: list_text(wanted) });
        }
    }
    Ok(())
}

/// Brings a merged list into order.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    key: Option<&'static str>,
) -> Result<Vec<Value>, PatchError> {
    let wanted = places(wanted, key)?;
    let server = places(server, key)?;
    let mut from_patch = Vec::new();
    let mut from_server = Vec::new();
    for item in merged {
        let this = identity(&item, key)?;
        let old_place = server.get(this).copied();
        match wanted.get(this).copied() {
            Some(place) => from_patch.push((place, old_place, item)),
            None => from_server.push((old_place, item)),
        }
    }
    from_patch.sort_by_key(|(place, _, _)| *place);
    from_server.sort_by_key(|(old_place, _)| *old_place);
    let mut ordered = Vec::with_capacity(from_patch.len() + from_server.len());
    let mut from_server = from_server.into_iter().peekable();
    for (_, place_in_old, item) in from_patch {
        if let Some(place_in_old) = place_in_old {
            while let Some((_, earlier)) =
                from_server.next_if(|(place, _)| place.is_some_and(|place| place < place_in_old))
            {
                ordered.push(earlier);
            }
        }
        ordered.push(item);
    }
    ordered.extend(from_server.map(|(_, item)| item));
    Ok(ordered)
}

/// The first place of every identity.
fn places<'v>(list: &'v [Value], key: Option<&'static str>) -> Result<HashMap<&'v Value, usize>, PatchError> {
    let mut places = HashMap::with_capacity(list.len());
    for (place, item) in list.iter().enumerate() {
        places.entry(identity(item, key)?).or_insert(place);
    }
    Ok(places)
}
