//! What types are called in the messages of upstream's decoder: `int32`, `[]v1.Container`.
//!
//! Only for texts; nothing may be decided by these names.

use super::types::{Definition, Definitions, Type};

/// The name of a type that has none of its own.
pub(super) fn text(definitions: &Definitions, of: &Type) -> String {
    match of {
        Type::String => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::IntOrString => "intstr.IntOrString".to_owned(),
        Type::Any => "runtime.RawExtension".to_owned(),
        Type::AnyObject => "v1.FieldsV1".to_owned(),
        Type::List(item) => format!("[]{}", text(definitions, item)),
        Type::Map(item) => format!("map[string]{}", text(definitions, item)),
        Type::Object(id) => definitions.at(*id).go_type().to_owned(),
    }
}

/// The name of the type of a value that stands so many steps below a field.
pub(super) fn at(
    definitions: &Definitions,
    of: &Type,
    _field: Option<(&Definition, &str, usize)>,
) -> String {
    text(definitions, of)
}
