//! `v1` `Secret`: settings that are nobody's business.
//!
//! Never let a secret's contents into an error message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::field::{Error, ErrorList};
use serde_json::Value;

use super::cells;
use super::check::{self, root};
use super::config_map::{DATA_BYTES_MAX, decoded_len, frozen};
use super::describe::{Names, kind};
use super::read::{self, Read};
use crate::kind::{Column, Kind, Strategy};

/// The descriptor.
pub(crate) static SECRET: Kind = {
    let names = Names {
        group: "",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        key_prefix: "/registry/secrets",
        definition: "io.k8s.api.core.v1.Secret",
    };
    kind(names, COLUMNS, &Secret)
};

const COLUMNS: &[Column] = &[
    cells::NAME,
    cells::shown("Type", "string", "What the secret is for; it says which keys must be there."),
    cells::shown("Data", "string", "How many keys it has."),
    cells::AGE,
];

struct Secret;

impl Strategy for Secret {
    fn default(&self, object: &mut Value) {
        read::set_default_text(object, "type", "Opaque");
        let Some(Value::Object(texts)) = object.as_object_mut().and_then(|map| map.remove("stringData"))
        else {
            return;
        };
        if texts.is_empty() {
            return;
        }
        let data = read::object_mut(object, "data");
        for (key, text) in texts {
            read::set(data, &key, STANDARD.encode(text.as_str().unwrap_or_default()));
        }
    }

    fn prepare_create(&self, _object: &mut Value) {}

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if new.text("type").is_empty() {
            read::keep(new, old, "type");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut bytes = 0;
        for (key, value) in object.entries("data") {
            let path = root("data").key(key);
            errors.extend(check::each(&path, key, model::names::config_map_key(key)));
            let text = value.as_str().unwrap_or_default();
            if STANDARD.decode(text).is_err() {
                errors.push(Error::invalid(&path, "<secret contents redacted>", "illegal base64 data"));
            }
            bytes += decoded_len(text);
        }
        if bytes > DATA_BYTES_MAX {
            errors.push(Error::too_long(&root("data"), DATA_BYTES_MAX));
        }
        errors.extend(of_its_type(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check::immutable(new, old, &model::field::Path::default(), "type", &mut errors);
        errors.extend(frozen(new, old, &["data"]));
        errors.extend(self.validate_create(new));
        errors
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let keys = object.entries("data").count();
        vec![cells::name(object), object.text("type").into(), keys.into(), cells::age(object, now)]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("type", object.text("type").to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["type"]
    }
}

/// What the secret's type asks for.
fn of_its_type(object: &Value) -> ErrorList {
    let data = root("data");
    let missing = |key: &str| {
        let absent = object.at("data").get(key).is_none();
        absent.then(|| Error::required(&data.key(key), ""))
    };
    let json = |key: &str| {
        let Some(text) = object.at("data").get(key).and_then(Value::as_str) else {
            return vec![Error::required(&data.key(key), "")];
        };
        let bytes = STANDARD.decode(text).unwrap_or_default();
        match serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
            Ok(_) => Vec::new(),
            Err(error) => {
                // serde's texts may quote what they stumbled over; say where, not what.
                let detail = format!("invalid JSON at line {} column {}", error.line(), error.column());
                vec![Error::invalid(&data.key(key), "<secret contents redacted>", detail)]
            }
        }
    };
    match object.text("type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let path = root("metadata.annotations").key(key);
            let absent = object.entry("metadata.annotations", key).is_empty();
            absent.then(|| Error::required(&path, "")).into_iter().collect()
        }
        "kubernetes.io/dockercfg" => json(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json(".dockerconfigjson"),
        "kubernetes.io/basic-auth" => match (missing("username"), missing("password")) {
            (Some(username), Some(password)) => vec![username, password],
            _ => Vec::new(),
        },
        "kubernetes.io/ssh-auth" => missing("ssh-privatekey").into_iter().collect(),
        "kubernetes.io/tls" => missing("tls.crt").into_iter().chain(missing("tls.key")).collect(),
        _ => Vec::new(),
    }
}
