//! StatefulSets beside each other: two of them must not come to share a claim.
//!
//! `a` with the template `data-b`, and `b-a` with `data`, would both call a claim `data-b-a-0`: whoever comes
//! second is refused, since it would run on the other's data (upstream shares it silently).

use std::collections::BTreeMap;

use async_trait::async_trait;
use model::field::{Error, Path};
use model::status::Status;
use serde_json::Value;
use store::Range;

use super::{Operation, Plugin, Review};
use crate::api::Api;
use crate::codec;
use crate::request::Address;

pub(super) struct ClaimNames;

#[async_trait]
impl Plugin for ClaimNames {
    async fn validate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        new: Option<&Value>,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(new) =
            new.filter(|_| review.operation == Operation::Create && review.is("apps", "StatefulSet"))
        else {
            return Ok(());
        };
        let kind = review.address.kind;
        let name = new["metadata"]["name"].as_str().unwrap_or_default();
        let stems = stems(new);
        if stems.is_empty() {
            return Ok(());
        }
        let prefix = Address::new(kind, &review.address.namespace, "").prefix();
        let page = api
            .store
            .range(&Range { prefix: prefix.clone(), ..Range::default() })
            .map_err(Status::internal)?;
        // Claims can be called the same only where one name ends as the other is: the keys tell that.
        let related = page.entries.iter().filter(|entry| {
            let other = entry.key.strip_prefix(&prefix).unwrap_or_default();
            ends_with_part(name, other) || ends_with_part(other, name)
        });
        for entry in related {
            let other = codec::value(&entry.object)?;
            let shared = self::stems(&other).into_keys().find(|stem| stems.contains_key(stem));
            if let Some(stem) = shared {
                let index = stems[&stem];
                let path =
                    Path::new("spec").child("volumeClaimTemplates").index(index).child("metadata.name");
                let other = other["metadata"]["name"].as_str().unwrap_or_default();
                let detail = format!(
                    "its claims would be called {stem}-0 and so on, as those of the StatefulSet {other}: the two \
                     would share volumes"
                );
                let bad = new["spec"]["volumeClaimTemplates"][index]["metadata"]["name"].clone();
                return Err(Status::invalid(&kind.gvk, name, &vec![Error::invalid(&path, bad, detail)]));
            }
        }
        Ok(())
    }
}

fn ends_with_part(long: &str, short: &str) -> bool {
    long.strip_suffix(short).is_some_and(|rest| rest.ends_with('-'))
}

/// What the names of a set's claims begin with, and which of its templates each is.
fn stems(set: &Value) -> BTreeMap<String, usize> {
    let name = set["metadata"]["name"].as_str().unwrap_or_default();
    let templates = set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    templates
        .enumerate()
        .map(|(index, claim)| {
            (format!("{}-{name}", claim["metadata"]["name"].as_str().unwrap_or_default()), index)
        })
        .collect()
}
