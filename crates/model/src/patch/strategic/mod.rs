//! Strategic merge patch: a merge patch that knows which lists are sets and which are keyed.
//!
//! The rules, most of them upstream's and written down nowhere else:
//! - Objects merge field by field, `null` removes, plain values replace.
//! - A list whose field has a merge key merges item by item; a set of plain values merges as a set; every
//!   other list is replaced ([`crate::schema::MergeStrategy`]).
//! - `$patch: replace` in an object (or in an item of a keyed list) replaces the object (the list) by the
//!   rest; `$patch: delete` empties it (removes the items with that key).
//! - `$deleteFromPrimitiveList/f` removes plain values from the set `f`.
//! - `$setElementOrder/f` gives the order of `f` ([`order`]).
//! - `$retainKeys` removes from the object what it does not name; the patch may set nothing else.
//!
//! A directive has its meaning only where there is something to patch; in what the patch adds, directives
//! and nulls are dropped. Read next: [`order`], [`removals`].

mod lists;
mod order;
pub mod removals;

use serde_json::{Map, Value};

use super::error::{LIST, PatchError};
use crate::schema::types::{Definition, Definitions, Field, Type};

/// Says what to do with the object it stands in.
const PATCH: &str = "$patch";
/// Lists the fields that stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// Before the name of a list: what to remove from it.
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
/// Before the name of a list: its order.
const SET_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// Applies a strategic merge patch to an object of the definition.
pub fn apply(
    definitions: &Definitions,
    original: &Value,
    patch: &Value,
    definition: &str,
) -> Result<Value, PatchError> {
    let definition = definitions.get(definition).ok_or(PatchError::Unsupported)?;
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            let merger = Merger { definitions };
            merger.object(original.clone(), patch.clone(), Some(definition)).map(Value::Object)
        }
        _ => Err(PatchError::NotAnObject),
    }
}

struct Merger<'a> {
    definitions: &'a Definitions,
}

impl<'a> Merger<'a> {
    /// Merges a patch into an object. Where nothing is known of the object's fields (maps, any JSON) there
    /// is no definition, and lists are replaced.
    fn object(
        &self,
        mut original: Object,
        mut patch: Object,
        definition: Option<&'a Definition>,
    ) -> Result<Object, PatchError> {
        if let Some(directive) = patch.get(PATCH) {
            return match directive.as_str() {
                Some("replace") => {
                    patch.remove(PATCH);
                    Ok(patch)
                }
                Some("delete") => Ok(Object::new()),
                _ => Err(PatchError::unknown_directive(directive, &patch)),
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, definition)?;
        for (key, value) in patch {
            match parse_directive(&key, DELETE_FROM) {
                Some(list) => delete_from(&mut original, list.ok_or(PatchError::PrimitiveList)?, value)?,
                None => self.field(&mut original, key, value, definition)?,
            }
        }
        Ok(original)
    }

    fn field(
        &self,
        original: &mut Object,
        key: String,
        patch: Value,
        definition: Option<&'a Definition>,
    ) -> Result<(), PatchError> {
        if patch.is_null() {
            original.remove(&key);
            return Ok(());
        }
        let field = definition.and_then(|definition| definition.field(&key));
        let is_replaced = field
            .and_then(|field| field.merge)
            .is_some_and(|strategy| !strategy.merge && !strategy.retain_keys);
        let merged = match (original.remove(&key), patch) {
            (Some(Value::Object(old)), Value::Object(patch)) if !is_replaced => Some(Value::Object(
                self.object(old, patch, self.definition_of(field.map(|field| &field.of)))?,
            )),
            (Some(Value::Array(old)), Value::Array(patch)) => {
                Some(Value::Array(self.list(old, patch, field)?))
            }
            (_, patch) => without_directives(patch),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
        Ok(())
    }

    fn list(
        &self,
        old: Vec<Value>,
        patch: Vec<Value>,
        field: Option<&'a Field>,
    ) -> Result<Vec<Value>, PatchError> {
        let Some((field, strategy)) = field.and_then(|field| Some((field, field.merge?))) else {
            return Ok(patch);
        };
        if !strategy.merge {
            return Ok(patch);
        }
        match strategy.key {
            Some(key) => self.keyed_list(old, patch, key, self.item_of(field)),
            None => lists::set(&old, &patch),
        }
    }

    /// Merges every list that the patch gives an order for, and takes it out of the patch.
    fn ordered_lists(
        &self,
        original: &mut Object,
        patch: &mut Object,
        definition: Option<&'a Definition>,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> =
            patch.keys().filter(|key| parse_directive(key, SET_ORDER).is_some()).cloned().collect();
        for directive in directives {
            let wanted = patch.remove(&directive).unwrap_or(Value::Null);
            let name = parse_directive(&directive, SET_ORDER).flatten().ok_or(PatchError::SetElementOrder)?;
            let wanted = take_list(wanted)?;
            let field = definition.and_then(|definition| definition.field(name));
            let key = field.and_then(|field| field.merge).and_then(|strategy| strategy.key);
            let old = original.remove(name).map(take_list).transpose()?;
            let added = match patch.remove(name) {
                // The list itself goes away; there is nothing to order.
                Some(Value::Null) => continue,
                added => added.map(take_list).transpose()?,
            };
            order::check(added.as_deref().unwrap_or_default(), &wanted, key)?;
            let server_order = old.clone().unwrap_or_default();
            let merged = match (old, added) {
                (None, None) => continue,
                (Some(old), None) => old,
                (None, Some(added)) => match without_directives(Value::Array(added)) {
                    Some(Value::Array(added)) => added,
                    _ => Vec::new(),
                },
                (Some(old), Some(added)) => self.list(old, added, field)?,
            };
            let ordered = order::arrange(merged, &wanted, &server_order, key)?;
            original.insert(name.to_owned(), Value::Array(ordered));
        }
        Ok(())
    }

    fn definition_of(&self, of: Option<&Type>) -> Option<&'a Definition> {
        match of {
            Some(Type::Object(id)) => Some(self.definitions.at(*id)),
            _ => None,
        }
    }

    fn item_of(&self, field: &Field) -> Option<&'a Definition> {
        match &field.of {
            Type::List(item) => self.definition_of(Some(item)),
            _ => None,
        }
    }
}

/// `None` when the key is not this directive; `Some(None)` when it is but names no field.
fn parse_directive<'k>(key: &'k str, directive: &str) -> Option<Option<&'k str>> {
    let rest = key.strip_prefix(directive)?;
    Some(rest.strip_prefix('/'))
}

fn take_list(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(PatchError::wrong_type(LIST, &other)),
    }
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(PatchError::RetainKeys) };
    let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    for (key, value) in patch.iter() {
        let is_directive = key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
        if !value.is_null() && !is_directive && !keys.contains(&key.as_str()) {
            return Err(PatchError::RetainKeys);
        }
    }
    original.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

fn delete_from(original: &mut Object, name: &str, values: Value) -> Result<(), PatchError> {
    if values.is_null() {
        original.remove(name);
        return Ok(());
    }
    if let (Some(Value::Array(list)), Value::Array(values)) = (original.get_mut(name), values) {
        lists::same_types(list, &values)?;
        list.retain(|item| !values.contains(item));
    }
    Ok(())
}

/// What a patch adds where there was nothing: without nulls and directives. `None` when the value says of
/// itself that it is a directive, and so must not be kept.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
            Some(Value::Object(
                kept.filter_map(|(key, value)| Some((key, without_directives(value)?))).collect(),
            ))
        }
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn is_directive(key: &str) -> bool {
    key == RETAIN_KEYS
        || parse_directive(key, DELETE_FROM).is_some()
        || parse_directive(key, SET_ORDER).is_some()
}
