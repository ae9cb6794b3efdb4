//! The paths of a group: what the router serves, as the descriptors say it.

use model::resource::GroupVersionKind;
use serde_json::{Map, Value, json};

use super::operations::{Action, Target};
use super::parameters;
use crate::kind::{Kind, Subresource};

const SCALE: (&str, GroupVersionKind) =
    ("io.k8s.api.autoscaling.v1.Scale", GroupVersionKind::constant("autoscaling", "v1", "Scale"));
const BINDING: (&str, GroupVersionKind) =
    ("io.k8s.api.core.v1.Binding", GroupVersionKind::constant("", "v1", "Binding"));
const EVICTION: (&str, GroupVersionKind) =
    ("io.k8s.api.policy.v1.Eviction", GroupVersionKind::constant("policy", "v1", "Eviction"));

/// Where a kind's group begins, without slashes around it: `api/v1`, `apis/apps/v1`.
pub(super) fn group_root(kind: &Kind) -> String {
    match &*kind.gvr.group {
        "" => format!("api/{}", kind.gvr.version),
        group => format!("apis/{group}/{}", kind.gvr.version),
    }
}

/// Every path of a group, for its kinds.
pub(super) fn of_group(root: &str, kinds: &[&Kind]) -> Map<String, Value> {
    let mut paths = Map::new();
    for kind in kinds {
        let writer = Writer { kind, tag: tag(kind), scope: if kind.namespaced { "Namespaced" } else { "" } };
        if kind.strategy.is_review() {
            let path = format!("/{root}/namespaces/{{namespace}}/{}", kind.gvr.resource);
            paths.insert(path, writer.questions());
            continue;
        }
        let collection = if kind.namespaced {
            paths.insert(format!("/{root}/{}", kind.gvr.resource), writer.all_namespaces());
            format!("/{root}/namespaces/{{namespace}}/{}", kind.gvr.resource)
        } else {
            format!("/{root}/{}", kind.gvr.resource)
        };
        let object = format!("{collection}/{{name}}");
        for subresource in kind.subresources {
            let (name, item) = writer.subresource(*subresource);
            paths.insert(format!("{object}/{name}"), item);
        }
        paths.insert(collection, writer.collection());
        paths.insert(object, writer.object());
    }
    paths
}

/// `AppsV1`, `CoreV1`, `DiscoveryV1`: the first word of the group, and the version.
fn tag(kind: &Kind) -> String {
    let group = match &*kind.gvr.group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    capitalized(group) + &capitalized(&kind.gvr.version)
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

struct Writer<'a> {
    kind: &'a Kind,
    tag: String,
    scope: &'static str,
}

impl Writer<'_> {
    fn all_namespaces(&self) -> Value {
        let subject = format!("{}ForAllNamespaces", self.kind.gvk.kind);
        let item = self.item(&subject, &[("get", Action::List)], None);
        with_parameters(item, vec![parameters::pretty()])
    }

    fn collection(&self) -> Value {
        let methods = [("get", Action::List), ("post", Action::Post), ("delete", Action::DeleteCollection)];
        let subject = format!("{}{}", self.scope, self.kind.gvk.kind);
        with_parameters(self.item(&subject, &methods, None), self.common(false))
    }

    /// Where questions are put: the only verb is to create.
    fn questions(&self) -> Value {
        let subject = format!("{}{}", self.scope, self.kind.gvk.kind);
        with_parameters(self.item(&subject, &[("post", Action::Post)], None), self.common(false))
    }

    fn object(&self) -> Value {
        let methods = [
            ("get", Action::Get),
            ("put", Action::Put),
            ("patch", Action::Patch),
            ("delete", Action::Delete),
        ];
        let subject = format!("{}{}", self.scope, self.kind.gvk.kind);
        with_parameters(self.item(&subject, &methods, None), self.common(true))
    }

    fn subresource(&self, subresource: Subresource) -> (&'static str, Value) {
        const READ_AND_WRITE: &[(&str, Action)] =
            &[("get", Action::Get), ("put", Action::Put), ("patch", Action::Patch)];
        let subject = |name: &str| format!("{}{}{name}", self.scope, self.kind.gvk.kind);
        let own = |name: &str, methods| self.item(&subject(name), methods, None);
        let other = |name: &str, methods, body| self.item(&subject(name), methods, Some(body));
        let (name, item) = match subresource {
            Subresource::Status => ("status", own("Status", READ_AND_WRITE)),
            Subresource::Finalize => ("finalize", own("Finalize", &[("put", Action::Put)])),
            Subresource::Scale => ("scale", other("Scale", READ_AND_WRITE, &SCALE)),
            Subresource::Binding => ("binding", other("Binding", &[("post", Action::Post)], &BINDING)),
            Subresource::Eviction => ("eviction", other("Eviction", &[("post", Action::Post)], &EVICTION)),
            Subresource::Log => {
                let get = self.target(&subject("Log"), None).plain_text(Action::Get, parameters::log());
                ("log", json!({ "get": get }))
            }
            Subresource::Exec => ("exec", self.stream("Exec", "Get", "Post", true)),
            Subresource::Attach => ("attach", self.stream("Attach", "Get", "Post", false)),
        };
        (name, with_parameters(item, self.common(true)))
    }

    fn stream(&self, name: &str, get: &str, post: &str, with_command: bool) -> Value {
        let operation = |method: &str| {
            let subject = format!("{method}{}{}{name}", self.scope, self.kind.gvk.kind);
            self.target(&subject, None).plain_text(Action::Connect, parameters::stream(with_command))
        };
        json!({ "get": operation(get), "post": operation(post) })
    }

    fn target<'s>(&'s self, subject: &'s str, body: Option<&'s (&'s str, GroupVersionKind)>) -> Target<'s> {
        let (definition, gvk) =
            body.map_or((self.kind.definition, &self.kind.gvk), |(definition, gvk)| (definition, gvk));
        Target { tag: &self.tag, gvk, definition, subject }
    }

    fn item(
        &self,
        subject: &str,
        methods: &[(&str, Action)],
        body: Option<&(&'static str, GroupVersionKind)>,
    ) -> Value {
        let target = self.target(subject, body);
        let entries =
            methods.iter().map(|(method, action)| ((*method).to_owned(), target.operation(*action)));
        Value::Object(entries.collect())
    }

    /// The parameters that stand in a path, for collections and for objects.
    fn common(&self, of_object: bool) -> Vec<Value> {
        let mut parameters = Vec::new();
        if of_object {
            parameters.push(parameters::path("name", &format!("name of the {}", self.kind.gvk.kind)));
        }
        if self.kind.namespaced {
            parameters.push(parameters::path("namespace", "the namespace that the objects are in"));
        }
        parameters.push(parameters::pretty());
        parameters
    }
}

fn with_parameters(mut item: Value, parameters: Vec<Value>) -> Value {
    item["parameters"] = parameters.into();
    item
}
