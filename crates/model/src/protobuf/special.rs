//! Messages that have a JSON form of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::table::Special;
use super::wire::Reader;
use super::{Decoder, MAGIC, ProtobufError};

/// Bytes, as JSON carries them.
pub(super) fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

impl Decoder {
    /// The JSON form of a special message; null where it was never set.
    pub(super) fn special(
        &mut self,
        special: Special,
        message: usize,
        name: &str,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, ProtobufError> {
        match special {
            Special::Quantity => Ok(single(bytes, name)?.text(name)?.into()),
            Special::Time => time(bytes, name, false),
            Special::MicroTime => time(bytes, name, true),
            Special::IntOrString => int_or_string(bytes, name),
            Special::Json => json(single(bytes, name)?.bytes(name)?, name),
            Special::RawExtension => {
                let raw = single(bytes, name)?.bytes(name)?;
                if raw.starts_with(MAGIC) { self.envelope(raw, depth + 1) } else { json(raw, name) }
            }
            Special::Items => {
                let mut object = Map::new();
                self.fields(message, bytes, &mut object, depth)?;
                Ok(object.remove("items").unwrap_or_else(|| Value::Array(Vec::new())))
            }
            Special::SchemaOr => {
                let mut object = Map::new();
                self.fields(message, bytes, &mut object, depth)?;
                let forms = ["schema", "jSONSchemas", "property", "allows"];
                let present = forms.into_iter().find_map(|form| object.remove(form));
                Ok(present.unwrap_or(Value::Bool(false)))
            }
        }
    }
}

/// The one field of a message that has only one; empty where it is not there.
fn single<'a>(bytes: &'a [u8], name: &str) -> Result<super::Item<'a>, ProtobufError> {
    let mut found = super::Item::Bytes(&[]);
    for field in Reader::new(bytes) {
        if let (1, item) = field? {
            item.bytes(name)?;
            found = item;
        }
    }
    Ok(found)
}

fn json(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|_| ProtobufError::Json(name.to_owned()))
}

fn time(bytes: &[u8], name: &str, micro: bool) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Reader::new(bytes) {
        match field? {
            (1, item) => seconds = item.varint(name)?.cast_signed(),
            (2, item) => nanos = item.varint(name)?.cast_signed(),
            _ => {}
        }
    }
    let wrong = || ProtobufError::Time(name.to_owned());
    if !(0..1_000_000_000).contains(&nanos) {
        return Err(wrong());
    }
    let moment = Timestamp::from_second(seconds).map_err(|_| wrong())?;
    let text = moment.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    if text.starts_with('-') {
        return Err(wrong());
    }
    Ok(if micro { format!("{text}.{:06}Z", nanos / 1000).into() } else { format!("{text}Z").into() })
}

fn int_or_string(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for field in Reader::new(bytes) {
        match field? {
            (1, item) => is_text = item.varint(name)? == 1,
            (2, item) => number = item.varint(name)?.cast_signed(),
            (3, item) => text = item.text(name)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}
