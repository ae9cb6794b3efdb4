//! `Table` and `PartialObjectMetadata`: the forms of an object that `kubectl get` and caches ask for.

use std::sync::Arc;

use jiff::Timestamp;
use model::encoded::Encoded;
use model::status::Status;
use serde_json::{Map, Value, json};

use crate::codec;
use crate::http::negotiate::Include;
use crate::kind::Kind;

/// The table of some objects. `metadata` is the list's, or of the one object.
pub(crate) fn table(
    kind: &Kind,
    objects: &[Arc<Encoded>],
    metadata: Value,
    include: Include,
    columns: bool,
    now: Timestamp,
) -> Result<Value, Status> {
    let mut rows = Vec::with_capacity(objects.len());
    for object in objects {
        rows.push(row(kind, &codec::value(object)?, include, now));
    }
    let definitions: Vec<Value> =
        if columns { kind.columns.iter().map(definition).collect() } else { Vec::new() };
    Ok(json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    }))
}

fn definition(column: &crate::kind::Column) -> Value {
    json!({
        "name": column.name, "type": column.cell_type, "format": column.format,
        "description": column.description, "priority": column.priority,
    })
}

fn row(kind: &Kind, object: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), kind.strategy.row(object, now).into());
    match include {
        Include::None => {}
        Include::Metadata => {
            row.insert("object".to_owned(), metadata_of(object));
        }
        Include::Object => {
            row.insert("object".to_owned(), object.clone());
        }
    }
    Value::Object(row)
}

/// The object's metadata alone.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
    })
}
