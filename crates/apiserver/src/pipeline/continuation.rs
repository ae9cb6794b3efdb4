//! Where a page of a list ended: opaque to clients, the same form as upstream's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::encoded::Revision;
use model::status::Status;
use serde_json::{Value, json};

/// Where to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// The revision of the list; `None` goes on with what there is now (after the history was compacted).
    pub(crate) revision: Option<Revision>,
    /// The last key of the page, without the collection's prefix.
    pub(crate) last: String,
}

impl Continuation {
    /// The text a client gets.
    pub(crate) fn encode(&self) -> String {
        let revision = self.revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
        let token = json!({
            "v": "meta.k8s.io/v1", "rv": revision, "start": format!("{}\u{0}", self.last),
        });
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// What a client sent back.
    pub(crate) fn decode(text: &str) -> Result<Continuation, Status> {
        let invalid = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| invalid("not base64"))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| invalid("not JSON"))?;
        if token["v"] != "meta.k8s.io/v1" {
            return Err(invalid("server does not recognize this encoded version"));
        }
        let last = token["start"].as_str().unwrap_or_default().trim_end_matches('\u{0}');
        if last.is_empty() || last.starts_with('/') || last.split('/').any(|part| part == "..") {
            return Err(invalid("incorrect encoded start resourceVersion"));
        }
        let revision = match token["rv"].as_i64() {
            None | Some(0) => return Err(invalid("incorrect encoded start resourceVersion")),
            Some(negative) if negative < 0 => None,
            Some(revision) => Some(Revision(revision.unsigned_abs())),
        };
        Ok(Continuation { revision, last: last.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_again_what_it_was_told() {
        let token = Continuation { revision: Some(Revision(12)), last: "default/a".to_owned() };
        assert_eq!(Continuation::decode(&token.encode()).expect("decodes"), token);
        for broken in ["", "x", "e30", "!!!"] {
            assert!(Continuation::decode(broken).is_err(), "{broken}");
        }
    }
}
