//! The requests: tables of what can be wrong, times the resources it can be wrong with.

use apiserver::kind::{Kind, Subresource};
use serde_json::Value;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// A request and what must come back.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    code: u16,
    /// Reason of the Status; empty where HTTP itself refuses, before there could be a Status.
    reason: &'static str,
}

impl Case {
    pub(crate) fn new(
        method: &'static str,
        target: impl Into<String>,
        code: u16,
        reason: &'static str,
    ) -> Case {
        let target = target.into();
        let shown: String = target.chars().take(120).collect();
        let name = format!("{method} {shown}");
        Case { name, method, target, headers: Vec::new(), body: Vec::new(), code, reason }
    }

    fn body(mut self, what: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Case {
        self.name = format!("{} with {what}", self.name);
        self.headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        self.body = body.into();
        self
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Case {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Whether the answer is the right one.
    pub(crate) fn check(&self, code: u16, body: &str) -> Result<(), String> {
        let shown: String = body.chars().take(300).collect();
        if code != self.code {
            return Err(format!("expected {}, got {code}: {shown}", self.code));
        }
        if self.reason.is_empty() {
            return Ok(());
        }
        let status: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {shown}"))?;
        let right = status["kind"] == "Status"
            && status["apiVersion"] == "v1"
            && status["status"] == "Failure"
            && status["code"] == code
            && status["reason"] == self.reason
            && status["message"].as_str().is_some_and(|message| !message.is_empty());
        if right { Ok(()) } else { Err(format!("expected reason {}: {shown}", self.reason)) }
    }
}

/// Every request.
pub(crate) fn all(kinds: &[&'static Kind]) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in kinds {
        bodies(kind, &mut cases);
        if kind.strategy.is_review() {
            // A question has no other verb: each is refused as such, whatever else is wrong with it.
            let (all, one) = (collection(kind), format!("{}/x", collection(kind)));
            let others = [("GET", &all), ("DELETE", &all), ("GET", &one), ("PUT", &one), ("PATCH", &one)];
            for (method, target) in others {
                cases.push(Case::new(method, target.as_str(), 405, "MethodNotAllowed"));
            }
            continue;
        }
        queries(kind, &mut cases);
        methods(kind, &mut cases);
    }
    patches(&mut cases);
    paths(&mut cases);
    options(&mut cases);
    floods(&mut cases);
    cases
}

fn version(kind: &Kind) -> String {
    match kind.gvr.group.as_ref() {
        "" => format!("/api/{}", kind.gvr.version),
        group => format!("/apis/{group}/{}", kind.gvr.version),
    }
}

fn collection(kind: &Kind) -> String {
    let namespace = if kind.namespaced { "/namespaces/default" } else { "" };
    format!("{}{namespace}/{}", version(kind), kind.gvr.resource)
}

/// An object of the kind with this metadata, as text.
fn object(kind: &Kind, metadata: &str) -> String {
    format!(
        r#"{{"apiVersion":"{}","kind":"{}","metadata":{metadata}}}"#,
        kind.gvk.api_version(),
        kind.gvk.kind
    )
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}{}", open.repeat(depth), close.repeat(depth))
}

fn protobuf(type_length: u8, rest: &[u8]) -> Vec<u8> {
    [b"k8s\0\x0a", &[type_length][..], rest].concat()
}

fn bodies(kind: &Kind, cases: &mut Vec<Case>) {
    let deep = format!(r#"{{"metadata":{{"name":"x"}},"spec":{}}}"#, nested(r#"{"a":"#, "}", 10_000));
    let laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
        c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
        e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    let bad: Vec<(&str, &str, Vec<u8>)> = vec![
        ("no body", JSON, Vec::new()),
        ("half an object", JSON, b"{\"metadata\": {".to_vec()),
        ("a list", JSON, b"[]".to_vec()),
        ("a string", JSON, b"\"text\"".to_vec()),
        ("null", JSON, b"null".to_vec()),
        ("two documents", JSON, b"{} {}".to_vec()),
        ("no UTF-8", JSON, b"{\"metadata\":{\"name\":\"\xff\xfe\"}}".to_vec()),
        ("half a surrogate", JSON, br#"{"metadata":{"name":"\ud800"}}"#.to_vec()),
        ("a number out of range", JSON, br#"{"metadata":{"name":"x","generation":1e999}}"#.to_vec()),
        ("metadata of a wrong type", JSON, object(kind, "5").into_bytes()),
        ("a name of a wrong type", JSON, object(kind, r#"{"name":5}"#).into_bytes()),
        ("labels of a wrong type", JSON, object(kind, r#"{"name":"x","labels":["a"]}"#).into_bytes()),
        ("a label of a wrong type", JSON, object(kind, r#"{"name":"x","labels":{"a":1}}"#).into_bytes()),
        (
            "another kind",
            JSON,
            object(kind, r#"{"name":"x"}"#).replace(&*kind.gvk.kind, "Nonsense").into_bytes(),
        ),
        ("another version", JSON, br#"{"apiVersion":"v99","metadata":{"name":"x"}}"#.to_vec()),
        ("a deep tree", JSON, deep.into_bytes()),
        ("deep lists", JSON, nested("[", "]", 100_000).into_bytes()),
        ("broken YAML", YAML, b"metadata: {name: [".to_vec()),
        ("YAML that explodes", YAML, laughs.as_bytes().to_vec()),
        ("YAML with two documents", YAML, b"kind: A\n---\nkind: B\n".to_vec()),
        ("protobuf without its mark", PROTOBUF, b"{\"metadata\":{}}".to_vec()),
        ("protobuf that is cut off", PROTOBUF, protobuf(40, b"\x0a\x02v1")),
        ("protobuf of another kind", PROTOBUF, protobuf(12, b"\x0a\x02v1\x12\x06NoKind\x12\x00")),
    ];
    for (what, content_type, body) in bad {
        cases.push(Case::new("POST", collection(kind), 400, "BadRequest").body(what, content_type, body));
    }
    let text = object(kind, r#"{"name":"x"}"#);
    for content_type in ["text/plain", "application/cbor", "application/x-www-form-urlencoded", "nonsense"] {
        let case = Case::new("POST", collection(kind), 415, "UnsupportedMediaType");
        cases.push(case.body(content_type, content_type, text.clone()));
    }
    // The name is what is wrong for sure; some kinds complain about what is missing too.
    let long = "n".repeat(300);
    let names = ["../../etc/passwd", "a/b", "..", ".", "a\\u0000b", "a%2fb", "-a-", "\\u202e", long.as_str()];
    for name in names {
        let body = object(kind, &format!(r#"{{"name":"{name}"}}"#));
        let what: String = name.chars().take(20).collect();
        let case = Case::new("POST", collection(kind), 422, "Invalid");
        cases.push(case.body(&format!("the name {what}"), JSON, body));
    }
    for metadata in [
        "{}",
        r#"{"name":"x","labels":{"a b":"c"}}"#,
        r#"{"name":"x","labels":{"a":"b c"}}"#,
        r#"{"name":"x","finalizers":["not a name"]}"#,
        r#"{"name":"x","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"","uid":""}]}"#,
    ] {
        let case = Case::new("POST", collection(kind), 422, "Invalid");
        cases.push(case.body(metadata, JSON, object(kind, metadata)));
    }
    let stamped = object(kind, r#"{"name":"x","resourceVersion":"5"}"#);
    cases.push(Case::new("POST", collection(kind), 400, "BadRequest").body("a revision", JSON, stamped));
    if kind.namespaced {
        let elsewhere = object(kind, r#"{"name":"x","namespace":"kube-system"}"#);
        let case = Case::new("POST", collection(kind), 400, "BadRequest");
        cases.push(case.body("another namespace", JSON, elsewhere));
    }
}

fn queries(kind: &Kind, cases: &mut Vec<Case>) {
    let path = collection(kind);
    for query in [
        "labelSelector=a%3Db%3Dc%2C%2C",
        "labelSelector=%21",
        "labelSelector=x%20in%20(",
        "labelSelector=x%20within%20(a)",
        "labelSelector=a%20b%3Dc",
        "labelSelector=x%3E%3E1",
        "fieldSelector=nonsense%3D1",
        "fieldSelector=metadata.name",
        "fieldSelector=metadata.uid%3D1",
        "limit=many",
        "continue=%21%21%21",
        "continue=e30",
        "labelSelector=%zz",
        "includeObject=Everything",
        "watch=true&timeoutSeconds=soon",
        "watch=true&fieldSelector=nonsense%3D1",
    ] {
        cases.push(Case::new("GET", format!("{path}?{query}"), 400, "BadRequest"));
    }
    for query in [
        "resourceVersion=newest",
        "resourceVersion=-1",
        "resourceVersionMatch=Exact",
        "resourceVersion=5&resourceVersionMatch=Roughly",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "sendInitialEvents=true",
        "watch=true&sendInitialEvents=true",
        "watch=true&resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ] {
        let invalid = query.contains("Match") || query.contains("Initial");
        let (code, reason) = if invalid { (422, "Invalid") } else { (400, "BadRequest") };
        cases.push(Case::new("GET", format!("{path}?{query}"), code, reason));
    }
    cases.push(Case::new("GET", format!("{path}?resourceVersion=99999999"), 504, "Timeout"));
    cases.push(Case::new("GET", path.clone(), 406, "NotAcceptable").header("Accept", "text/html"));
    let acceptable = Case::new("POST", path, 406, "NotAcceptable").header("Accept", "text/html");
    cases.push(acceptable.body("no form to answer in", JSON, object(kind, r#"{"name":"never-made"}"#)));
}

fn methods(kind: &Kind, cases: &mut Vec<Case>) {
    let path = collection(kind);
    let body = object(kind, r#"{"name":"x"}"#);
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE"] {
        let case = Case::new(method, path.clone(), 405, "MethodNotAllowed");
        cases.push(case.body("an object", JSON, body.clone()));
    }
    let case = Case::new("POST", format!("{path}/x"), 405, "MethodNotAllowed");
    cases.push(case.body("an object", JSON, body.clone()));
    cases.push(Case::new("GET", format!("{path}/x/nonsense"), 404, "NotFound"));
    cases.push(Case::new("GET", format!("{path}/x/status/more"), 404, "NotFound"));
    cases.push(Case::new("GET", format!("{path}/{}", "x".repeat(5000)), 404, "NotFound"));
    cases.push(Case::new("DELETE", format!("{path}/is-not-there"), 404, "NotFound"));
    if !kind.subresources.contains(&Subresource::Scale) {
        cases.push(Case::new("GET", format!("{path}/x/scale"), 404, "NotFound"));
    }
    if !kind.subresources.contains(&Subresource::Log) {
        cases.push(Case::new("GET", format!("{path}/x/log"), 404, "NotFound"));
    }
    let other = Case::new("PUT", format!("{path}/other"), 400, "BadRequest");
    cases.push(other.body("another name", JSON, body));
    let grace = br#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":"soon"}"#;
    cases.push(Case::new("DELETE", format!("{path}/x"), 400, "BadRequest").body("a bad grace", JSON, *grace));
    let policy = br#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Sideways"}"#;
    cases.push(Case::new("DELETE", format!("{path}/x"), 422, "Invalid").body("a bad policy", JSON, *policy));
}

fn patches(cases: &mut Vec<Case>) {
    let held = [
        "/api/v1/namespaces/default/configmaps/held",
        "/api/v1/namespaces/default/pods/held",
        "/apis/apps/v1/namespaces/default/statefulsets/held",
    ];
    let many = format!("[{}]", vec![r#"{"op":"test","path":"/kind","value":"x"}"#; 10_001].join(","));
    let table: Vec<(u16, &'static str, &str, &str)> = vec![
        (400, "BadRequest", JSON_PATCH, "{}"),
        (400, "BadRequest", JSON_PATCH, "[1]"),
        (400, "BadRequest", JSON_PATCH, r#"[{"op":"add"}]"#),
        (400, "BadRequest", JSON_PATCH, r#"[{"op":"fly","path":"/a"}]"#),
        (422, "Invalid", JSON_PATCH, r#"[{"op":"remove","path":"/not/there"}]"#),
        (422, "Invalid", JSON_PATCH, r#"[{"op":"test","path":"/kind","value":"Nonsense"}]"#),
        (413, "RequestEntityTooLarge", JSON_PATCH, many.as_str()),
        (400, "BadRequest", MERGE, "[]"),
        (400, "BadRequest", MERGE, "\"text\""),
        (400, "BadRequest", MERGE, "{"),
        (400, "BadRequest", MERGE, r#"{"metadata":{"name":"other"}}"#),
        (400, "BadRequest", MERGE, r#"{"metadata":{"namespace":"other"}}"#),
        (400, "BadRequest", MERGE, r#"{"kind":"Nonsense"}"#),
        (409, "Conflict", MERGE, r#"{"metadata":{"uid":"other"}}"#),
        (409, "Conflict", MERGE, r#"{"metadata":{"resourceVersion":"1"}}"#),
        (422, "Invalid", MERGE, r#"{"metadata":{"labels":5}}"#),
        (422, "Invalid", MERGE, r#"{"metadata":{"labels":{"a b":"c"}}}"#),
        (400, "BadRequest", STRATEGIC, "[]"),
        (400, "BadRequest", STRATEGIC, "nonsense"),
        (400, "BadRequest", STRATEGIC, r#"{"metadata":{"$patch":"explode"}}"#),
        (409, "Conflict", STRATEGIC, r#"{"metadata":{"uid":"other"}}"#),
        (415, "UnsupportedMediaType", "application/apply-patch+yaml", "{}"),
        (415, "UnsupportedMediaType", JSON, "{}"),
        (415, "UnsupportedMediaType", "text/plain", "{}"),
    ];
    for path in held {
        for (code, reason, content_type, body) in &table {
            let what: String = body.chars().take(60).collect();
            let what = format!("{what} as {content_type}");
            cases.push(Case::new("PATCH", path, *code, reason).body(&what, content_type, *body));
        }
        let deep = format!(r#"{{"metadata":{}}}"#, nested(r#"{"a":"#, "}", 20_000));
        let deep = deep.replacen(":}", ":{}}", 1);
        for content_type in [MERGE, STRATEGIC] {
            let case = Case::new("PATCH", path, 400, "BadRequest");
            cases.push(case.body("a deep tree", content_type, deep.clone()));
        }
    }
    for (path, content_type, body) in [
        (held[1], MERGE, r#"{"spec":{"containers":[]}}"#),
        (held[1], STRATEGIC, r#"{"spec":{"nodeName":"elsewhere"}}"#),
        (held[2], MERGE, r#"{"spec":{"serviceName":"other"}}"#),
        (held[2], MERGE, r#"{"spec":{"replicas":-1}}"#),
        (held[2], MERGE, r#"{"spec":{"replicas":"three"}}"#),
        (held[2], STRATEGIC, r#"{"spec":{"selector":{"matchLabels":{"app":"y"}}}}"#),
    ] {
        cases.push(Case::new("PATCH", path, 422, "Invalid").body(body, content_type, body));
    }
    for path in [held[1], held[2]] {
        let body = r#"{"metadata":{"uid":"other"},"status":{}}"#;
        let case = Case::new("PATCH", format!("{path}/status"), 409, "Conflict");
        cases.push(case.body("another uid", MERGE, body));
    }
}

fn paths(cases: &mut Vec<Case>) {
    for path in [
        "/",
        "/x",
        "/api/v2",
        "/api/v1/nonsense",
        "/api/v1/pods/a/b/c/d/e",
        "/apis/nonsense",
        "/apis/apps/v9",
        "/apis/apps/v1/nonsense",
        "/apis/apps/v1/namespaces/default/nonsense/x",
        "/api/v1/namespaces//pods",
        "/api/v1/pods//log",
        "/api/v1/namespaces/default/pods/a%2fb",
        "/api/v1/namespaces/default/pods/%00",
        "/api/v1/namespaces/default/pods/%zz",
        "/api/v1/namespaces/default/pods/%ff",
        "/openapi/v3/nonsense",
        "/openapi/v9",
        "/apis/apps/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/nodes/x",
        "/api/v1/../../etc/passwd",
        "/apis/batch/v2/jobs",
        "/logs/",
        "/debug/pprof",
        "/api/v1/proxy/x",
    ] {
        cases.push(Case::new("GET", path, 404, "NotFound"));
    }
    for path in ["/version", "/openapi/v3", "/apis", "/metrics"] {
        cases.push(Case::new("POST", path, 404, "NotFound"));
        cases.push(Case::new("DELETE", path, 404, "NotFound"));
    }
    cases.push(Case::new("POST", "/api/v1/pods", 405, "MethodNotAllowed").body("no namespace", JSON, "{}"));
    cases.push(Case::new("DELETE", "/api/v1/pods", 405, "MethodNotAllowed"));
    cases.push(Case::new("GET", "/api/v1/pods/x", 405, "MethodNotAllowed"));
}

fn options(cases: &mut Vec<Case>) {
    let path = "/api/v1/namespaces/default/configmaps";
    let manager = format!("fieldManager={}", "m".repeat(129));
    for query in ["dryRun=Some", "fieldValidation=Loose", manager.as_str()] {
        let case = Case::new("POST", format!("{path}?{query}"), 422, "Invalid");
        cases.push(case.body("an object", JSON, r#"{"metadata":{"name":"x"}}"#));
    }
    let strict = Case::new("POST", format!("{path}?fieldValidation=Strict"), 400, "BadRequest");
    cases.push(strict.body("an unknown field", JSON, r#"{"metadata":{"name":"x"},"datum":{}}"#));
    let strict = Case::new("POST", format!("{path}?fieldValidation=Strict"), 400, "BadRequest");
    cases.push(strict.body("a field twice", JSON, r#"{"metadata":{"name":"x"},"data":{},"data":{}}"#));
    let dry = Case::new("POST", "/api/v1/namespaces/missing/configmaps?dryRun=All", 404, "NotFound");
    cases.push(dry.body("a missing namespace", JSON, r#"{"metadata":{"name":"x"}}"#));
    let exists = Case::new("POST", path, 409, "AlreadyExists");
    cases.push(exists.body("a name that is taken", JSON, r#"{"metadata":{"name":"held"}}"#));
    let pod = "/api/v1/namespaces/default/pods/held";
    for (code, reason, suffix) in [
        (400, "BadRequest", "log?tailLines=few"),
        (422, "Invalid", "log?tailLines=-1"),
        (400, "BadRequest", "log?container=other"),
        (400, "BadRequest", "log?sinceTime=yesterday"),
        (400, "BadRequest", "exec?command=ls&stdout=true"),
        (400, "BadRequest", "attach"),
    ] {
        cases.push(Case::new("GET", format!("{pod}/{suffix}"), code, reason));
    }
    for (code, reason, body) in [
        (400, "BadRequest", "{"),
        (422, "Invalid", r#"{"metadata":{"name":"held"},"target":{"kind":"Node"}}"#),
        (422, "Invalid", r#"{"metadata":{"name":"held"},"target":{"kind":"Pod","name":"x"}}"#),
        (400, "BadRequest", r#"{"metadata":{"name":"other"},"target":{"name":"x"}}"#),
    ] {
        cases.push(Case::new("POST", format!("{pod}/binding"), code, reason).body(body, JSON, body));
    }
    let set = "/apis/apps/v1/namespaces/default/statefulsets/held/scale";
    for (code, reason, body) in [
        (400, "BadRequest", "["),
        (400, "BadRequest", r#"{"metadata":{"name":"held"},"spec":{"replicas":"x"}}"#),
        (422, "Invalid", r#"{"metadata":{"name":"held"},"spec":{"replicas":-4}}"#),
        (409, "Conflict", r#"{"metadata":{"name":"held","resourceVersion":"1"},"spec":{"replicas":4}}"#),
    ] {
        cases.push(Case::new("PUT", set, code, reason).body(body, JSON, body));
    }
}

fn floods(cases: &mut Vec<Case>) {
    let path = "/api/v1/namespaces/default/configmaps";
    let huge = vec![b' '; 3 * 1024 * 1024 + 1];
    for content_type in [JSON, YAML, PROTOBUF] {
        let case = Case::new("POST", path, 413, "RequestEntityTooLarge");
        cases.push(case.body("a huge body", content_type, huge.clone()));
    }
    let case = Case::new("PATCH", format!("{path}/held"), 413, "RequestEntityTooLarge");
    cases.push(case.body("a huge body", MERGE, huge));
    // Within the body's limit, but over what an object may have.
    let data = format!(r#"{{"metadata":{{"name":"x"}},"data":{{"a":"{}"}}}}"#, "x".repeat(2 * 1024 * 1024));
    cases.push(Case::new("POST", path, 422, "Invalid").body("2 MiB of data", JSON, data));
    let fields: Vec<String> = (0..100_000).map(|number| format!(r#""f{number}":{number}"#)).collect();
    let fields = format!("{{{}}}", fields.join(","));
    let strict = Case::new("POST", format!("{path}?fieldValidation=Strict"), 400, "BadRequest");
    cases.push(strict.body("100,000 unknown fields", JSON, fields));
    let lists = nested("[", "]", 1_000_000);
    cases.push(Case::new("POST", path, 400, "BadRequest").body("a million lists", JSON, lists));
    let colons = "a: ".repeat(300_000);
    cases.push(Case::new("POST", path, 400, "BadRequest").body("a million colons", YAML, colons));
    let nested_pb = protobuf(255, &vec![0x0a; 100_000]);
    cases.push(Case::new("POST", path, 400, "BadRequest").body("nested messages", PROTOBUF, nested_pb));
    // HTTP itself refuses these.
    let value = "x".repeat(100_000);
    cases.push(Case::new("GET", path, 431, "").header("X-Long", value));
    let mut many = Case::new("GET", path, 431, "");
    for number in 0..2_000 {
        many = many.header(&format!("X-{number}"), "x");
    }
    cases.push(many);
    cases.push(Case::new("GET", format!("{path}?labelSelector={}", "x".repeat(70_000)), 431, ""));
    let requirements: Vec<String> = (0..5_000).map(|number| format!("k{number}")).collect();
    let long = format!("{path}?labelSelector={},a%20b", requirements.join(","));
    cases.push(Case::new("GET", long, 400, "BadRequest"));
}
