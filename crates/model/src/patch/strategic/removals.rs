//! What somebody took out of what they applied before, as a patch says it.
//!
//! A patch that only holds what is wanted removes nothing. Fields that were applied before and are wanted no
//! more become `null`, items of keyed lists `$patch: delete`, plain values `$deleteFromPrimitiveList`. What
//! others set is in neither text, and stays.

use serde_json::{Value, json};

use super::{DELETE_FROM, Merger, Object, PATCH};
use crate::schema::types::{Definition, Definitions, Field};

/// Adds to `wanted` what removes everything that is in `before` only.
pub fn add(definitions: &Definitions, before: &Value, wanted: &mut Value, definition: &str) {
    if let (Value::Object(before), Value::Object(wanted)) = (before, wanted) {
        Merger { definitions }.removed(before, wanted, definitions.get(definition));
    }
}

impl<'a> Merger<'a> {
    fn removed(&self, before: &Object, wanted: &mut Object, definition: Option<&'a Definition>) {
        for (key, was) in before {
            let field = definition.and_then(|definition| definition.field(key));
            let gone = match (was, wanted.get_mut(key)) {
                (_, None) => {
                    wanted.insert(key.clone(), Value::Null);
                    continue;
                }
                (Value::Object(was), Some(Value::Object(is))) => {
                    self.removed(was, is, self.definition_of(field.map(|field| &field.of)));
                    continue;
                }
                (Value::Array(was), Some(Value::Array(is))) => self.removed_items(was, is, field),
                _ => continue,
            };
            if !gone.is_empty() {
                wanted.insert(format!("{DELETE_FROM}/{key}"), Value::Array(gone));
            }
        }
    }

    /// Marks the items of a keyed list that are gone; gives the plain values that are.
    fn removed_items(
        &self,
        before: &[Value],
        wanted: &mut Vec<Value>,
        field: Option<&'a Field>,
    ) -> Vec<Value> {
        let Some((field, strategy)) = field.and_then(|field| Some((field, field.merge?))) else {
            return Vec::new();
        };
        if !strategy.merge {
            return Vec::new();
        }
        let Some(key) = strategy.key else {
            return before.iter().filter(|was| !wanted.contains(was)).cloned().collect();
        };
        for was in before {
            let Some(value) = was.get(key) else { continue };
            match (was, wanted.iter_mut().find(|is| is.get(key) == Some(value))) {
                (Value::Object(was), Some(Value::Object(is))) => self.removed(was, is, self.item_of(field)),
                (_, Some(_)) => {}
                (_, None) => wanted.push(json!({ key: value, PATCH: "delete" })),
            }
        }
        Vec::new()
    }
}
