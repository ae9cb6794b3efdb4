//! Request bodies in Kubernetes' protobuf encoding, decoded to the JSON they stand for.
//!
//! A body is four magic bytes and a `runtime.Unknown`: version and kind, and the object's own bytes. Which
//! field of a message has which name comes from a table ([`table`]); a few messages have a JSON form of
//! their own ([`special`]). Zero values that Go's encoder writes for every field that is no pointer are left
//! out, as its JSON encoder would.
//!
//! Nothing here trusts the bytes: lengths are checked, nesting and the number of values are bounded, and what
//! cannot be read is an error. It never encodes: answers are JSON.

use serde_json::{Map, Value};

mod special;
mod table;
mod wire;

use table::{Field, Kind, Shape, Table};
use wire::{Item, Reader};

/// What every protobuf body begins with.
pub const MAGIC: &[u8] = b"k8s\0";

/// Deepest nesting of messages. The deepest built-in kind, a pod template in a CronJob, needs some 15;
/// schemas of custom resources nest freely, but not usefully deeper than JSON bodies may.
const DEPTH_MAX: usize = 128;

/// Most values in one body: a small message costs two bytes on the wire and a hundred or more here, so this
/// bounds the memory of one body to some 100 MB.
const VALUES_MAX: usize = 500_000;

/// The bytes are not an object in Kubernetes' protobuf encoding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The body does not begin as every such body does.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    /// The bytes end inside a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number has more bytes than any number can.
    #[error("integer overflow")]
    Overflow,
    /// A field's number is zero, or its wire type does not exist.
    #[error("illegal tag {0}")]
    Tag(u64),
    /// A field has another wire type than its message says.
    #[error("wrong wireType for field {0}")]
    WireType(String),
    /// A text is not UTF-8.
    #[error("field {0} contains invalid UTF-8")]
    Utf8(String),
    /// A field that holds JSON does not.
    #[error("field {0} does not hold JSON")]
    Json(String),
    /// A time outside the years 0 to 9999.
    #[error("field {0} is not a time")]
    Time(String),
    /// Messages nest too deeply.
    #[error("exceeded max depth {DEPTH_MAX}")]
    Depth,
    /// There are too many values in one body.
    #[error("more than {VALUES_MAX} values in one body")]
    Values,
    /// The object is of a kind that has no protobuf encoding here.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// `apiVersion` of the object.
        api_version: String,
        /// Its kind.
        kind: String,
    },
    /// The object's own bytes are in yet another encoding.
    #[error("the content type {0:?} or its encoding is not supported inside a protobuf body")]
    Content(String),
}

/// Decodes one object, with its `apiVersion` and `kind`.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let mut decoder = Decoder { table: Table::get(), values: 0 };
    decoder.envelope(body, 0)
}

struct Decoder {
    table: &'static Table,
    values: usize,
}

/// `runtime.Unknown` and the `runtime.TypeMeta` in it, as far as they matter.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
    content_encoding: &'a str,
    content_type: &'a str,
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Envelope<'a>, ProtobufError> {
        let mut envelope = Envelope::default();
        for field in Reader::new(bytes) {
            match field? {
                (1, item) => {
                    for field in Reader::new(item.bytes("typeMeta")?) {
                        match field? {
                            (1, item) => envelope.api_version = item.text("apiVersion")?,
                            (2, item) => envelope.kind = item.text("kind")?,
                            _ => {}
                        }
                    }
                }
                (2, item) => envelope.raw = item.bytes("raw")?,
                (3, item) => envelope.content_encoding = item.text("contentEncoding")?,
                (4, item) => envelope.content_type = item.text("contentType")?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

impl Decoder {
    fn envelope(&mut self, body: &[u8], depth: usize) -> Result<Value, ProtobufError> {
        let envelope = Envelope::read(body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?)?;
        let content = envelope.content_type;
        if !envelope.content_encoding.is_empty() || !(content.is_empty() || content.ends_with("protobuf")) {
            return Err(ProtobufError::Content(content.to_owned()));
        }
        let message = self.table.object(envelope.api_version, envelope.kind).ok_or_else(|| {
            ProtobufError::UnknownKind {
                api_version: envelope.api_version.to_owned(),
                kind: envelope.kind.to_owned(),
            }
        })?;
        let mut object = Map::new();
        object.insert("apiVersion".to_owned(), envelope.api_version.into());
        object.insert("kind".to_owned(), envelope.kind.into());
        self.fields(message, envelope.raw, &mut object, depth)?;
        Ok(Value::Object(object))
    }

    /// Decodes the fields of one message into `object`.
    fn fields(
        &mut self,
        message: usize,
        bytes: &[u8],
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if depth >= DEPTH_MAX {
            return Err(ProtobufError::Depth);
        }
        for entry in Reader::new(bytes) {
            let (number, item) = entry?;
            let Some(field) = self.table.message(message).field(number) else { continue };
            match field.shape {
                Shape::Inline => {
                    let Kind::Message(inner) = field.kind else { continue };
                    self.fields(inner, item.bytes(field.name)?, object, depth + 1)?;
                }
                Shape::List => {
                    let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                    if let Some(items) = list.as_array_mut() {
                        self.items(field, item, items, depth)?;
                    }
                }
                Shape::Map => {
                    let (key, value) = self.map_entry(field, item.bytes(field.name)?, depth)?;
                    let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                    if let Some(map) = map.as_object_mut() {
                        map.insert(key, value);
                    }
                }
                Shape::One => {
                    let value = self.value(field, item, depth)?;
                    if field.pointer || !is_zero(&value, field, self.table) {
                        object.insert(field.name.to_owned(), value);
                    }
                }
            }
        }
        Ok(())
    }

    /// One element of a list, or several numbers packed into one item.
    fn items(
        &mut self,
        field: &Field,
        item: Item<'_>,
        items: &mut Vec<Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match (field.kind, item) {
            (Kind::Bool | Kind::Int | Kind::Uint, Item::Bytes(bytes)) => {
                for number in wire::packed(bytes) {
                    items.push(self.value(field, Item::Varint(number?), depth)?);
                }
            }
            (_, item) => items.push(self.value(field, item, depth)?),
        }
        Ok(())
    }

    /// An entry of a map is a message of a key and a value, either of which may be left out.
    fn map_entry(
        &mut self,
        field: &Field,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut value) = ("", None);
        for entry in Reader::new(bytes) {
            match entry? {
                (1, item) => key = item.text(field.name)?,
                (2, item) => value = Some(item),
                _ => {}
            }
        }
        let absent = match field.kind {
            Kind::Text | Kind::Bytes | Kind::Message(_) => Item::Bytes(&[]),
            Kind::Bool | Kind::Int | Kind::Uint => Item::Varint(0),
            Kind::Double => Item::Fixed64(0),
        };
        Ok((key.to_owned(), self.value(field, value.unwrap_or(absent), depth)?))
    }

    fn value(&mut self, field: &Field, item: Item<'_>, depth: usize) -> Result<Value, ProtobufError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(ProtobufError::Values);
        }
        let name = field.name;
        Ok(match field.kind {
            Kind::Text => item.text(name)?.into(),
            Kind::Bytes => special::base64(item.bytes(name)?),
            Kind::Bool => (item.varint(name)? != 0).into(),
            // Negative numbers are written as the 64 bits of their two's complement.
            Kind::Int => item.varint(name)?.cast_signed().into(),
            Kind::Uint => item.varint(name)?.into(),
            Kind::Double => f64::from_bits(item.fixed64(name)?).into(),
            Kind::Message(message) => {
                let bytes = item.bytes(name)?;
                match self.table.message(message).special {
                    Some(special) => self.special(special, message, name, bytes, depth + 1)?,
                    None => {
                        let mut object = Map::new();
                        self.fields(message, bytes, &mut object, depth + 1)?;
                        Value::Object(object)
                    }
                }
            }
        })
    }
}

/// True for what Go's JSON encoder leaves out of a field that is no pointer, and for times and ports that
/// were never set, which it would write but which mean the same as nothing.
fn is_zero(value: &Value, field: &Field, table: &Table) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        // An empty message that is no pointer is written as `{}`, but for those that stand for a text.
        Value::Object(_) | Value::Array(_) => {
            let Kind::Message(message) = field.kind else { return false };
            table.message(message).special.is_some() && value.as_object().is_some_and(Map::is_empty)
        }
    }
}

#[cfg(test)]
mod tests;
