//! Amounts of resources: requests, limits, and what stands between them.

use model::field::{Error, Path};
use serde_json::Value;

/// One amount of the resource `name`: a quantity that is not negative.
pub(crate) fn amount(_path: &Path, _name: &str, _amount: &Value) -> Vec<Error> {
    Vec::new()
}

/// x
pub(crate) fn qos_class(_spec: &Value) -> &'static str {
    "BestEffort"
}
