//! The table of messages: field numbers, JSON names and types.
//!
//! `messages.table` is made by `xtask` from what is published about the API: a line a message, its name
//! first, then fields apart by `|`, each of number, JSON name and type. Before the type may stand `~` (the
//! field's own fields belong to the message around it), `*` (a pointer: zero is not nothing), `[` (a list) or
//! `{` (a map with text keys). Types are `s`, `y` (bytes), `b`, `i`, `u`, `d`, or the name of a message, of
//! the same package where it names none. It is parsed when the first protobuf body comes.

use std::collections::HashMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("messages.table");

/// How often a field's value stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
    Inline,
}

/// The type of a field's value, or of the elements of a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Bool,
    Int,
    Uint,
    Double,
    Message(usize),
}

#[derive(Debug)]
pub(super) struct Field {
    number: u32,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) pointer: bool,
    pub(super) kind: Kind,
}

/// Messages that JSON writes otherwise than as an object of their fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    /// Bytes that hold JSON.
    Json,
    /// Bytes that hold JSON, or another protobuf object.
    RawExtension,
    /// A list in a message of its own.
    Items,
    /// Whichever of several forms is there.
    SchemaOr,
}

#[derive(Debug)]
pub(super) struct Message {
    /// Sorted by number.
    fields: Vec<Field>,
    pub(super) special: Option<Special>,
}

impl Message {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        let found = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some(&self.fields[found])
    }
}

#[derive(Debug)]
pub(super) struct Table {
    messages: Vec<Message>,
    by_name: HashMap<&'static str, usize>,
}

impl Table {
    pub(super) fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(Table::parse)
    }

    pub(super) fn message(&self, index: usize) -> &Message {
        &self.messages[index]
    }

    /// The message of an object. Groups are told apart by the first label of their name: no two built-in
    /// groups share it.
    pub(super) fn object(&self, api_version: &str, kind: &str) -> Option<usize> {
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let label = match group.split_once('.') {
            Some((label, "k8s.io" | "authorization.k8s.io" | "apiserver.k8s.io")) => label,
            Some(_) => return None,
            None => group,
        };
        // Options and errors exist in every group under the same name.
        let own = self.by_name.get(format!("{label}/{version}.{kind}").as_str());
        let common = || {
            let everywhere = kind.ends_with("Options") || matches!(kind, "Status" | "List" | "WatchEvent");
            everywhere.then(|| self.by_name.get(format!("meta/v1.{kind}").as_str())).flatten()
        };
        own.or_else(common).copied()
    }

    fn parse() -> Table {
        let names = TEXT.lines().map(|line| line.split('|').next().unwrap_or_default());
        let by_name: HashMap<&str, usize> = names.enumerate().map(|(index, name)| (name, index)).collect();
        let messages = TEXT.lines().map(|line| parse_message(line, &by_name)).collect();
        Table { messages, by_name }
    }
}

fn parse_message(line: &'static str, by_name: &HashMap<&str, usize>) -> Message {
    let mut parts = line.split('|');
    let name = parts.next().unwrap_or_default();
    let package = name.rsplit_once('.').map_or("", |(package, _)| package);
    let field = |text| parse_field(text, package, by_name).expect("the table is as its generator writes it");
    let mut fields: Vec<Field> = parts.map(field).collect();
    fields.sort_by_key(|field| field.number);
    Message { fields, special: special(name) }
}

fn parse_field(text: &'static str, package: &str, by_name: &HashMap<&str, usize>) -> Option<Field> {
    let mut words = text.split(' ');
    let (number, name, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (pointer, kind) = kind.strip_prefix('*').map_or((false, kind), |rest| (true, rest));
    let (shape, kind) = match kind.as_bytes().first()? {
        b'~' => (Shape::Inline, &kind[1..]),
        b'[' => (Shape::List, &kind[1..]),
        b'{' => (Shape::Map, &kind[1..]),
        _ => (Shape::One, kind),
    };
    let kind = match kind {
        "s" => Kind::Text,
        "y" => Kind::Bytes,
        "b" => Kind::Bool,
        "i" => Kind::Int,
        "u" => Kind::Uint,
        "d" => Kind::Double,
        message => {
            let own = by_name.get(format!("{package}.{message}").as_str());
            Kind::Message(*own.or_else(|| by_name.get(message))?)
        }
    };
    Some(Field { number, name, shape, pointer, kind })
}

fn special(name: &str) -> Option<Special> {
    Some(match name {
        "resource.Quantity" => Special::Quantity,
        "meta/v1.Time" => Special::Time,
        "meta/v1.MicroTime" => Special::MicroTime,
        "intstr.IntOrString" => Special::IntOrString,
        "meta/v1.FieldsV1" | "apiextensions/v1.JSON" => Special::Json,
        "runtime.RawExtension" => Special::RawExtension,
        "meta/v1.Verbs"
        | "authentication/v1.ExtraValue"
        | "authorization/v1.ExtraValue"
        | "certificates/v1.ExtraValue" => Special::Items,
        "apiextensions/v1.JSONSchemaPropsOrArray"
        | "apiextensions/v1.JSONSchemaPropsOrBool"
        | "apiextensions/v1.JSONSchemaPropsOrStringArray" => Special::SchemaOr,
        _ => return None,
    })
}
