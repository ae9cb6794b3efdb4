//! A JSON tree built with an eye on fields given twice.
//!
//! `serde_json`'s own `Value` silently keeps the last of two; here their paths are recorded on the way.
//! The same visitor serves JSON and YAML.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{DUPLICATES_MAX, Decoded};

/// Deepest nesting of lists and objects. The JSON parser gives up at the same depth by itself; YAML and
/// whatever may come later are held to it too.
pub(super) const DEPTH_MAX: usize = 128;

/// Most objects and lists in one body. An object of one field costs ten bytes of JSON and some 700 of memory,
/// so this bounds one body to some 140 MB; the largest custom resource definitions have a few ten thousand.
pub(super) const OBJECTS_MAX: usize = 200_000;

pub(super) fn from_json(bytes: &[u8]) -> Result<Decoded, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let decoded = from_deserializer(&mut deserializer)?;
    deserializer.end()?;
    Ok(decoded)
}

pub(super) fn from_deserializer<'de, D: Deserializer<'de>>(input: D) -> Result<Decoded, D::Error> {
    let seen = Seen::default();
    let value = Node { step: Step::Root, depth: 0, seen: &seen }.deserialize(input)?;
    Ok(Decoded { value, duplicate_fields: seen.duplicates.into_inner() })
}

/// What is gathered on the way through a body.
#[derive(Default)]
struct Seen {
    duplicates: RefCell<Vec<String>>,
    objects: Cell<usize>,
}

/// One step of the path from the root, linked on the stack: nothing is allocated while all is well.
#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a Step<'a>, &'a str),
    Index(&'a Step<'a>, usize),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Root => Ok(()),
            Step::Field(Step::Root, name) => formatter.write_str(name),
            Step::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Step::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'a> {
    step: Step<'a>,
    depth: usize,
    seen: &'a Seen,
}

impl Node<'_> {
    fn descend<E: Error>(self) -> Result<usize, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("exceeded max depth {DEPTH_MAX}")));
        }
        self.seen.objects.set(self.seen.objects.get() + 1);
        if self.seen.objects.get() > OBJECTS_MAX {
            return Err(E::custom(format!("more than {OBJECTS_MAX} objects in one body")));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.descend()?;
        let mut list = Vec::new();
        loop {
            let step = Step::Index(&self.step, list.len());
            match items.next_element_seed(Node { step, depth, seen: self.seen })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.descend()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let step = Step::Field(&self.step, &key);
            let value = entries.next_value_seed(Node { step, depth, seen: self.seen })?;
            if map.contains_key(&key) {
                let mut duplicates = self.seen.duplicates.borrow_mut();
                let path = step.to_string();
                if duplicates.len() < DUPLICATES_MAX && !duplicates.contains(&path) {
                    duplicates.push(path);
                }
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
