//! Validation errors: which field, what is wrong with it, and what is allowed.
//!
//! Texts and types are those clients of Kubernetes match on (`metav1.StatusCause`); see
//! `apimachinery/pkg/util/validation/field` upstream for the vocabulary.

use std::fmt;

use serde_json::Value;

/// Where in an object: `spec.template.spec.containers[0].name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path(String);

impl Path {
    /// A path that begins with the field `name`.
    pub fn new(name: &str) -> Path {
        Path(name.to_owned())
    }

    /// The field `name` below this one. Dots inside `name` separate fields: `child("a.b")`.
    #[must_use]
    pub fn child(&self, name: &str) -> Path {
        if self.0.is_empty() { Path(name.to_owned()) } else { Path(format!("{}.{name}", self.0)) }
    }

    /// Element `index` of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Path {
        Path(format!("{}[{index}]", self.0))
    }

    /// Entry `key` of the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Path {
        Path(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { formatter.write_str("<nil>") } else { formatter.write_str(&self.0) }
    }
}

/// What is wrong, in the vocabulary of `metav1.CauseType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// The value is not there but must be.
    Required,
    /// The value is malformed.
    Invalid,
    /// The value is not one of those allowed.
    NotSupported,
    /// The value may not be set here, or not be changed.
    Forbidden,
    /// The value stands in the list twice.
    Duplicate,
    /// The value names something that does not exist.
    NotFound,
    /// The string is too long.
    TooLong,
    /// The list is too long.
    TooMany,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// Something on our side failed while checking.
    Internal,
}

impl ErrorType {
    /// The `reason` of the status cause.
    pub fn cause(self) -> &'static str {
        match self {
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
            ErrorType::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            ErrorType::Required => "Required value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::NotFound => "Not found",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::Internal => "Internal error",
        }
    }
}

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    /// Which kind of wrong.
    pub error_type: ErrorType,
    /// Which field.
    pub path: Path,
    /// The offending value; `None` where the type of error does not show one.
    pub bad_value: Option<Value>,
    /// What is allowed, or what to do.
    pub detail: String,
}

impl Error {
    fn new(error_type: ErrorType, path: &Path, bad_value: Option<Value>, detail: String) -> Error {
        Error { error_type, path: path.clone(), bad_value, detail }
    }

    /// The field must be there. `detail` may be empty.
    pub fn required(path: &Path, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::Required, path, None, detail.into())
    }

    /// The field is there, but malformed.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::Invalid, path, Some(value.into()), detail.into())
    }

    /// The field has the wrong JSON type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::TypeInvalid, path, Some(value.into()), detail.into())
    }

    /// The value is none of `allowed`; they are listed, sorted as given.
    pub fn not_supported(path: &Path, value: impl Into<Value>, allowed: &[&str]) -> Error {
        let detail = if allowed.is_empty() {
            String::new()
        } else {
            let quoted: Vec<String> = allowed.iter().map(|value| format!("{value:?}")).collect();
            format!("supported values: {}", quoted.join(", "))
        };
        Error::new(ErrorType::NotSupported, path, Some(value.into()), detail)
    }

    /// The field may not be set, or may not change.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Error {
        Error::new(ErrorType::Forbidden, path, None, detail.into())
    }

    /// The value stands in the list twice.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Error {
        Error::new(ErrorType::Duplicate, path, Some(value.into()), String::new())
    }

    /// The value names something that is not there.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Error {
        Error::new(ErrorType::NotFound, path, Some(value.into()), String::new())
    }

    /// The string has more than `bytes_max` bytes.
    pub fn too_long(path: &Path, bytes_max: usize) -> Error {
        let detail = format!("may not be more than {bytes_max} bytes");
        Error::new(ErrorType::TooLong, path, None, detail)
    }

    /// The list has more than `items_max` items.
    pub fn too_many(path: &Path, items: usize, items_max: usize) -> Error {
        let detail = format!("must have at most {items_max} items");
        Error::new(ErrorType::TooMany, path, Some(Value::from(items)), detail)
    }

    /// The message of the status cause: everything but the path.
    pub fn body(&self) -> String {
        let mut text = self.error_type.text().to_owned();
        if let Some(value) = &self.bad_value {
            text.push_str(": ");
            text.push_str(&render(value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.body())
    }
}

/// Every error found in one object; empty means it is valid.
pub type ErrorList = Vec<Error>;

/// The longest rendering of a bad value, in bytes: an error message must not echo a megabyte back.
const BAD_VALUE_BYTES_MAX: usize = 1024;

fn render(value: &Value) -> String {
    let mut text = match value {
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    };
    if text.len() > BAD_VALUE_BYTES_MAX {
        let mut end = BAD_VALUE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_upstream_writes_them() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        assert_eq!(
            Error::invalid(&path, "A", "must be lower case").to_string(),
            "spec.containers[0].name: Invalid value: \"A\": must be lower case"
        );
        assert_eq!(Error::required(&path, "").to_string(), "spec.containers[0].name: Required value");
        assert_eq!(
            Error::not_supported(&Path::new("type"), "x", &["A", "B"]).to_string(),
            "type: Unsupported value: \"x\": supported values: \"A\", \"B\""
        );
        assert_eq!(
            Error::duplicate(&Path::new("ports").index(1), 80).to_string(),
            "ports[1]: Duplicate value: 80"
        );
    }
}
