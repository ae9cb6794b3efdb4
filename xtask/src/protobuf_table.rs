//! Makes the table by which `model::protobuf` decodes, from what is published about the API.
//!
//! Two inputs: the `.proto` files, which give every message's field numbers and types, and the Go sources of
//! the same messages, whose struct tags give the JSON name of each field, whether it is inlined into the
//! message around it, and whether it is a pointer (then an explicit zero means something). The table holds
//! those facts and nothing else; it is committed, and made anew only for a new version of the API.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Packages whose messages a client may send, by their place in the table.
const PACKAGES: &[&str] = &[
    "admissionregistration/v1",
    "apiextensions/v1",
    "apiregistration/v1",
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "flowcontrol/v1",
    "intstr",
    "meta/v1",
    "networking/v1",
    "node/v1",
    "policy/v1",
    "rbac/v1",
    "resource",
    "resource/v1",
    "runtime",
    "scheduling/v1",
    "storage/v1",
];

#[derive(Debug)]
struct ProtoField {
    number: u32,
    name: String,
    /// `""`, `[` for a list, `{` for a map with text keys.
    shape: &'static str,
    kind: String,
}

#[derive(Debug)]
struct GoField {
    json: String,
    inline: bool,
    pointer: bool,
}

type Messages = BTreeMap<(String, String), Vec<ProtoField>>;
type Structs = BTreeMap<(String, String), BTreeMap<u32, GoField>>;

/// The table's text. `protos` holds the `.proto` files, `go` the roots of the Go modules.
pub(crate) fn generate(protos: &Path, go: &[PathBuf]) -> std::io::Result<String> {
    let mut messages = Messages::new();
    for file in files(protos, "generated.proto")? {
        read_proto(&fs::read_to_string(&file)?, &mut messages);
    }
    let mut structs = Structs::new();
    for root in go {
        for file in files(root, ".go")? {
            let package = package_of_directory(&file);
            if PACKAGES.contains(&package.as_str()) {
                read_go(&package, &fs::read_to_string(&file)?, &mut structs);
            }
        }
    }
    let mut table = String::new();
    for ((package, message), fields) in &messages {
        if !PACKAGES.contains(&package.as_str()) {
            continue;
        }
        let known = structs.get(&(package.clone(), message.clone()));
        let _ = write!(table, "{package}.{message}");
        for field in fields {
            let tag = known.and_then(|tags| tags.get(&field.number));
            let json = tag.map_or(field.name.as_str(), |tag| tag.json.as_str());
            let flag = match tag {
                Some(tag) if tag.inline => "~",
                Some(tag) if tag.pointer => "*",
                _ => "",
            };
            let name = if flag == "~" { "" } else { json };
            let kind = field.kind.strip_prefix(&format!("{package}.")).unwrap_or(&field.kind);
            let _ = write!(table, "|{} {name} {flag}{}{kind}", field.number, field.shape);
        }
        table.push('\n');
    }
    Ok(table)
}

fn files(root: &Path, suffix: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(suffix) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// `api.core.v1` is `core/v1`; `apimachinery.pkg.util.intstr` is `intstr`.
fn short_package(segments: &[&str]) -> String {
    match segments {
        [.., group, version]
            if version.starts_with('v') && version.as_bytes().get(1).is_some_and(u8::is_ascii_digit) =>
        {
            format!("{group}/{version}")
        }
        [.., last] => (*last).to_owned(),
        [] => String::new(),
    }
}

fn package_of_directory(file: &Path) -> String {
    let directory = file.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
    short_package(&directory.split('/').collect::<Vec<_>>())
}

fn read_proto(text: &str, messages: &mut Messages) {
    let mut package = String::new();
    let mut message: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("package ") {
            package = short_package(&name.trim_end_matches(';').split('.').collect::<Vec<_>>());
        } else if let Some(name) = line.strip_prefix("message ") {
            let name = name.trim_end_matches('{').trim().to_owned();
            messages.insert((package.clone(), name.clone()), Vec::new());
            message = Some(name);
        } else if let (Some(name), true) = (&message, line.ends_with(';'))
            && let Some(field) = read_field(&package, line)
        {
            messages.entry((package.clone(), name.clone())).or_default().push(field);
        }
    }
}

fn read_field(package: &str, line: &str) -> Option<ProtoField> {
    let (declaration, number) = line.trim_end_matches(';').rsplit_once(" = ")?;
    let number = number.split_whitespace().next()?.parse().ok()?;
    let (kind, name) = declaration.rsplit_once(' ')?;
    let (shape, kind) = if let Some(map) = kind.strip_prefix("map<") {
        ("{", map.trim_end_matches('>').split_once(", ")?.1)
    } else if let Some(kind) = kind.strip_prefix("repeated ") {
        ("[", kind)
    } else {
        ("", kind.strip_prefix("optional ")?)
    };
    let kind = match kind {
        "string" => "s".to_owned(),
        "bytes" => "y".to_owned(),
        "bool" => "b".to_owned(),
        "int32" | "int64" => "i".to_owned(),
        "uint32" | "uint64" => "u".to_owned(),
        "double" => "d".to_owned(),
        message => match message.trim_start_matches('.').rsplit_once('.') {
            Some((other, name)) => format!("{}.{name}", short_package(&other.split('.').collect::<Vec<_>>())),
            None => format!("{package}.{message}"),
        },
    };
    Some(ProtoField { number, name: name.to_owned(), shape, kind })
}

fn read_go(package: &str, text: &str, structs: &mut Structs) {
    let mut current: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("type ") {
            current = rest.strip_suffix(" struct {").map(str::to_owned);
        } else if line.starts_with('}') {
            current = None;
        } else if let Some(name) = &current
            && let Some((number, field)) = read_go_field(line.trim())
        {
            structs.entry((package.to_owned(), name.clone())).or_default().insert(number, field);
        }
    }
}

fn read_go_field(line: &str) -> Option<(u32, GoField)> {
    let (declaration, tags) = line.split_once('`')?;
    if line.starts_with("//") {
        return None;
    }
    let tag =
        |key: &str| Some(tags.split_once(&format!("{key}:\""))?.1.split('"').next().unwrap_or_default());
    let number = tag("protobuf")?.split(',').nth(1)?.parse().ok()?;
    let json = tag("json")?;
    let (json, options) = json.split_once(',').unwrap_or((json, ""));
    let kind = declaration.split_whitespace().last()?;
    let inline = json.is_empty() && (options.contains("inline") || options.is_empty());
    Some((number, GoField { json: json.to_owned(), inline, pointer: kind.starts_with('*') }))
}
