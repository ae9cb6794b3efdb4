//! The built-in kinds, one file each.
//!
//! A file says what is peculiar to its kind: names, defaults, validation, update rules, table columns,
//! selectable fields. It must never hold a request handler.

use crate::kind::Kind;

/// Every built-in kind, in the order in which discovery lists them.
pub fn all() -> Vec<&'static Kind> {
    Vec::new()
}
