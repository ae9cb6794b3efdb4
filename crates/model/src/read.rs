//! Reading and filling JSON objects whose types the schema has checked already.
//!
//! Kinds work on the tree itself, not on typed structs: a field that is required but missing must become a
//! validation error with its path, not a decoding error. A path that leads nowhere reads as null.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Reads fields by dotted path (`spec.nodeName`). Missing and null are the same.
pub trait Read {
    /// The value at `path`, or null.
    fn at(&self, path: &str) -> &Value;

    /// The string at `path`, or the empty string.
    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }

    /// The whole number at `path`.
    fn number(&self, path: &str) -> Option<i64> {
        self.at(path).as_i64()
    }

    /// True where `path` holds `true`.
    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or_default()
    }

    /// The elements of the list at `path`; none when it is missing.
    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }

    /// The entries of the map at `path`, in order of their keys.
    fn entries(&self, path: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.at(path).as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// True where there is something at `path`.
    fn has(&self, path: &str) -> bool {
        !self.at(path).is_null()
    }

    /// An entry of the map at `path`, whose key may hold dots.
    fn entry(&self, path: &str, key: &str) -> &str {
        self.at(path).get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Read for Value {
    fn at(&self, path: &str) -> &Value {
        let mut value = self;
        for key in path.split('.') {
            match value.get(key) {
                Some(next) => value = next,
                None => return &NULL,
            }
        }
        value
    }
}

/// Sets `key` where it is missing or null.
pub fn set_default(object: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        let slot = object.entry(key).or_insert(Value::Null);
        if slot.is_null() {
            *slot = default.into();
        }
    }
}

/// Sets `key` where it is missing, null or the empty string: what Go's defaults do to plain strings.
pub fn set_default_text(object: &mut Value, key: &str, default: &str) {
    if object.text(key).is_empty() {
        set(object, key, default);
    }
}

/// Sets `key`, whatever was there.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
}

/// Removes `key`.
pub fn remove(object: &mut Value, key: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
}

/// The object at `key`, made empty when it is missing or null.
pub fn object_mut<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    static KEY_OF_A_NON_OBJECT: &str = "the schema has checked that this is an object";
    let map = object.as_object_mut().expect(KEY_OF_A_NON_OBJECT);
    let slot = map.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot
}

/// The object at `key` if it is there.
pub fn present_mut<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|value| value.is_object())
}

/// The elements of the list at `key`.
pub fn list_mut<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Copies `key` from `old` into `new`, or removes it where `old` has none.
pub fn keep(new: &mut Value, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => set(new, key, value.clone()),
        None => remove(new, key),
    }
}
