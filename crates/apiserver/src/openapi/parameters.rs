//! The parameters of operations.
//!
//! Written out at every operation, not referred to: kubectl looks for their names there.

use serde_json::{Value, json};

fn query(name: &str, kind: &str, description: &str) -> Value {
    let schema = json!({ "type": kind, "uniqueItems": true });
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// A parameter in the path.
pub(super) fn path(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": { "type": "string", "uniqueItems": true },
    })
}

/// Of every path.
pub(super) fn pretty() -> Value {
    query("pretty", "string", "If 'true', then the output is pretty printed.")
}

/// Of every operation that writes.
pub(super) fn write() -> Vec<Value> {
    vec![
        query(
            "dryRun",
            "string",
            "When present, indicates that modifications should not be persisted. The only valid value is All.",
        ),
        query("fieldManager", "string", "The name of the actor that makes the changes."),
        query(
            "fieldValidation",
            "string",
            "What to do with unknown and duplicate fields: Ignore drops them, Warn (the default) drops them \
             and answers with a warning for each, Strict refuses the request.",
        ),
    ]
}

/// Of PATCH beside those of [`write`].
pub(super) fn force() -> Value {
    query("force", "boolean", "Takes fields over that another manager owns. Only for apply patches.")
}

/// Of DELETE of one object.
pub(super) fn delete() -> Vec<Value> {
    vec![
        query("dryRun", "string", "When present, indicates that modifications should not be persisted."),
        query(
            "gracePeriodSeconds",
            "integer",
            "Seconds before the object is deleted. Zero deletes it at once; without it the kind's default is used.",
        ),
        query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
        query(
            "propagationPolicy",
            "string",
            "What happens to what the object owns: Orphan, Background or Foreground.",
        ),
    ]
}

/// Of lists.
pub(super) fn list() -> Vec<Value> {
    vec![
        query("allowWatchBookmarks", "boolean", "Asks a watch for events of type BOOKMARK."),
        query("continue", "string", "Where to go on, from the metadata of the part before."),
        query("fieldSelector", "string", "Restricts the objects by their fields."),
        query("labelSelector", "string", "Restricts the objects by their labels."),
        query("limit", "integer", "How many objects to answer with at most."),
        query("resourceVersion", "string", "The version the answer is to be made from."),
        query("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
        query("sendInitialEvents", "boolean", "Begins a watch with the objects that are there."),
        query("timeoutSeconds", "integer", "Ends a watch after so many seconds."),
        query("watch", "boolean", "Goes on with the changes as a stream."),
    ]
}

/// Of `pods/log`.
pub(super) fn log() -> Vec<Value> {
    vec![
        query("container", "string", "Whose log; needed where the pod has several containers."),
        query("follow", "boolean", "Goes on with what is written."),
        query("limitBytes", "integer", "How many bytes to answer with at most."),
        query("previous", "boolean", "The log of the container before its last restart."),
        query("sinceSeconds", "integer", "Only what is younger than so many seconds."),
        query("tailLines", "integer", "Only the last lines."),
        query("timestamps", "boolean", "Begins every line with its time."),
    ]
}

/// Of `pods/exec` and `pods/attach`.
pub(super) fn stream(with_command: bool) -> Vec<Value> {
    let mut parameters = vec![
        query("container", "string", "In which container; needed where the pod has several."),
        query("stderr", "boolean", "Sends what the process writes to its standard error."),
        query("stdin", "boolean", "Gives the process what is sent as its standard input."),
        query("stdout", "boolean", "Sends what the process writes to its standard output."),
        query("tty", "boolean", "Runs the process on a terminal."),
    ];
    if with_command {
        parameters.push(query("command", "string", "What to run: the parameter once for every word."));
    }
    parameters
}
