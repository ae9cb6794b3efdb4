//! One operation: a method on a path.

use model::resource::GroupVersionKind;
use model::schema::raw::REFERENCE_PREFIX;
use serde_json::{Map, Value, json};

use super::parameters;

/// What patches are sent as.
const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const PATCH_BODY: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// What an operation does, in the words of `x-kubernetes-action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    List,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    Connect,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Get => "get",
            Action::List => "list",
            Action::Post => "post",
            Action::Put => "put",
            Action::Patch => "patch",
            Action::Delete => "delete",
            Action::DeleteCollection => "deletecollection",
            Action::Connect => "connect",
        }
    }

    /// Its verb in the names of operations, and in their descriptions.
    fn verb(self) -> (&'static str, &'static str) {
        match self {
            Action::Get => ("read", "read the specified"),
            Action::List => ("list", "list or watch objects of kind"),
            Action::Post => ("create", "create a"),
            Action::Put => ("replace", "replace the specified"),
            Action::Patch => ("patch", "partially update the specified"),
            Action::Delete => ("delete", "delete a"),
            Action::DeleteCollection => ("deleteCollection", "delete collection of"),
            Action::Connect => ("connect", "connect requests to"),
        }
    }
}

/// What all operations on one path have in common.
pub(super) struct Target<'a> {
    /// The group in names: `AppsV1`.
    pub tag: &'a str,
    /// The kind of the bodies.
    pub gvk: &'a GroupVersionKind,
    /// The definition of the bodies.
    pub definition: &'a str,
    /// What the path is about, for names: `NamespacedStatefulSetStatus`.
    pub subject: &'a str,
}

impl Target<'_> {
    /// One operation.
    pub(super) fn operation(&self, action: Action) -> Value {
        let list = format!("{}List", self.definition);
        let (parameters, body, answer): (Vec<Value>, Option<Value>, &str) = match action {
            Action::Get | Action::Connect => (Vec::new(), None, self.definition),
            Action::List => (parameters::list(), None, &list),
            Action::Post | Action::Put => {
                (parameters::write(), Some(body(&["*/*"], self.definition, true)), self.definition)
            }
            Action::Patch => {
                let mut parameters = parameters::write();
                parameters.push(parameters::force());
                (parameters, Some(body(&PATCH_TYPES, PATCH_BODY, true)), self.definition)
            }
            Action::Delete => (parameters::delete(), Some(body(&["*/*"], DELETE_OPTIONS, false)), STATUS),
            Action::DeleteCollection => {
                let mut parameters = parameters::delete();
                parameters.extend(parameters::list());
                parameters.retain(|parameter| !is_of_watch(parameter));
                (dedup(parameters), Some(body(&["*/*"], DELETE_OPTIONS, false)), STATUS)
            }
        };
        let mut operation = self.head(action);
        operation.insert("responses".to_owned(), responses(action, answer));
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = body {
            operation.insert("requestBody".to_owned(), body);
        }
        Value::Object(operation)
    }

    /// An operation that answers with text or a stream and has its own parameters.
    pub(super) fn plain_text(&self, action: Action, parameters: Vec<Value>) -> Value {
        let mut operation = self.head(action);
        operation.insert("parameters".to_owned(), parameters.into());
        let content = json!({ "text/plain": { "schema": { "type": "string" } } });
        operation
            .insert("responses".to_owned(), json!({ "200": { "description": "OK", "content": content } }));
        Value::Object(operation)
    }

    fn head(&self, action: Action) -> Map<String, Value> {
        let (verb, words) = action.verb();
        let mut head = Map::new();
        head.insert("tags".to_owned(), json!([snake(self.tag)]));
        head.insert("description".to_owned(), format!("{words} {}", self.gvk.kind).into());
        head.insert("operationId".to_owned(), format!("{verb}{}{}", self.tag, self.subject).into());
        head.insert("x-kubernetes-action".to_owned(), action.name().into());
        head.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!({ "group": self.gvk.group, "version": self.gvk.version, "kind": self.gvk.kind }),
        );
        head
    }
}

fn is_of_watch(parameter: &Value) -> bool {
    matches!(parameter["name"].as_str(), Some("watch" | "allowWatchBookmarks"))
}

/// A name may stand only once among an operation's parameters.
fn dedup(parameters: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        if !kept.iter().any(|other| other["name"] == parameter["name"]) {
            kept.push(parameter);
        }
    }
    kept
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("{REFERENCE_PREFIX}{definition}") })
}

fn content(types: &[&str], definition: &str) -> Value {
    let entries = types.iter().map(|name| ((*name).to_owned(), json!({ "schema": reference(definition) })));
    Value::Object(entries.collect())
}

fn body(types: &[&str], definition: &str, required: bool) -> Value {
    let mut body = json!({ "content": content(types, definition) });
    if required {
        body["required"] = true.into();
    }
    body
}

fn responses(action: Action, definition: &str) -> Value {
    let types = if action == Action::List {
        &["application/json", "application/json;stream=watch"][..]
    } else {
        &["application/json"][..]
    };
    let codes: &[(&str, &str)] = match action {
        Action::Post => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        Action::Put | Action::Patch => &[("200", "OK"), ("201", "Created")],
        Action::Delete => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let entries = codes.iter().map(|(code, text)| {
        let response = json!({ "description": text, "content": content(types, definition) });
        ((*code).to_owned(), response)
    });
    Value::Object(entries.chain([unauthorized()]).collect())
}

fn unauthorized() -> (String, Value) {
    ("401".to_owned(), json!({ "description": "Unauthorized" }))
}

/// `AppsV1` as upstream writes it in tags: `apps_v1`.
fn snake(tag: &str) -> String {
    let mut text = String::new();
    for character in tag.chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
    }
    text
}
