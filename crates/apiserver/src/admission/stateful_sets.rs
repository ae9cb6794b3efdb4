//! StatefulSets beside what else there is: two of them must not come to share a claim; what is likely a
//! mistake is accepted with a warning.
//!
//! `a` with the template `data-b`, and `b-a` with `data`, would both call a claim `data-b-a-0`: whoever comes
//! second is refused, since it would run on the other's data (upstream shares it silently).

use std::collections::BTreeMap;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::StatefulSet;
use model::field::{Error, Path};
use model::selector::Selector;
use model::stateful_set::ExtendedStatefulSet;
use model::status::Status;
use serde::Deserialize as _;
use serde_json::Value;
use store::Range;

use super::{Operation, Plugin, Review};
use crate::api::Api;
use crate::codec;
use crate::request::Address;

/// Sets of a namespace that a selector is compared with: a namespace with more has them made by a program,
/// and a warning is not worth more than a millisecond or two.
const SELECTORS_COMPARED_MAX: usize = 200;
/// Claims of one template that are looked at when a set begins to update its claims in place.
const CLAIMS_COMPARED_MAX: usize = 100;
/// Sets that one warning names.
const SELECTORS_NAMED_MAX: usize = 3;

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

/// Warns of sets that select each other's pods, and of claims that are asked to grow where they cannot.
pub(super) struct Warnings;

#[async_trait]
impl Plugin for Warnings {
    async fn validate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(new) = new.filter(|_| review.is("apps", "StatefulSet")) else { return Ok(()) };
        let labels = |set: &Value| set.pointer("/spec/template/metadata/labels").cloned();
        if old.is_none_or(|old| labels(old) != labels(new)) {
            let others = overlapping(api, review.address, new)?;
            if !others.is_empty() {
                review.cx.warn(format!(
                    "spec.selector: StatefulSets that select the same pods: {}; each should have labels of \
                     its own",
                    others.join(", ")
                ));
            }
        }
        let growing = match old {
            Some(old) if is_in_place(new) && !is_in_place(old) => outgrown(api, review.address, new)?,
            Some(old) if is_in_place(new) => growths(new, old),
            _ => Vec::new(),
        };
        for warning in growing {
            if let Some(class) = warning.class_that_refuses(api)? {
                review.cx.warn(format!(
                    "spec.volumeClaimTemplates[{}].spec.resources.requests.storage: the StorageClass \
                     {class:?} does not let volumes grow: claims that exist stay as they are",
                    warning.index
                ));
            }
        }
        Ok(())
    }
}

/// Names of sets whose selector matches the pods of this one, or the other way round; the first few.
fn overlapping(api: &Api, address: &Address, new: &Value) -> Result<Vec<String>, Status> {
    let Ok(new) = StatefulSet::deserialize(new) else { return Ok(Vec::new()) };
    let prefix = Address::new(address.kind, &address.namespace, "").prefix();
    let range = Range { prefix, limit: SELECTORS_COMPARED_MAX, ..Range::default() };
    let page = api.store.range(&range).map_err(Status::internal)?;
    let selects = |set: &StatefulSet, other: &StatefulSet| {
        let none = BTreeMap::new();
        let template = other.spec.template.metadata.as_ref();
        let labels = template.and_then(|metadata| metadata.labels.as_ref()).unwrap_or(&none);
        Selector::from_label_selector(&set.spec.selector).is_ok_and(|selector| selector.matches(labels))
    };
    let mut names = Vec::new();
    for entry in &page.entries {
        // The very value that the controller's view holds: nothing is decoded for this.
        let other = entry.object.decode::<ExtendedStatefulSet>().map_err(Status::internal)?;
        let other = &other.set;
        let is_itself = other.metadata.name == new.metadata.name;
        if !is_itself && (selects(&new, other) || selects(other, &new)) {
            names.extend(other.metadata.name.clone());
        }
        if names.len() == SELECTORS_NAMED_MAX {
            break;
        }
    }
    Ok(names)
}

/// A claim template that asks for more storage than its claims have.
struct Growing {
    index: usize,
    class: Option<String>,
}

fn is_in_place(set: &Value) -> bool {
    set.pointer("/spec/volumeClaimUpdateStrategy/type") == Some(&Value::from("InPlace"))
}

fn templates(set: &Value) -> &[Value] {
    set["spec"]["volumeClaimTemplates"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The templates that ask for more than before.
fn growths(new: &Value, old: &Value) -> Vec<Growing> {
    let pairs = templates(new).iter().zip(templates(old)).enumerate();
    pairs
        .filter(|(_, (new, old))| super::storage::grows(new, old))
        .map(|(index, (new, _))| Growing::of(index, new))
        .collect()
}

/// The templates that ask for more than claims that are there, of which the first few are looked at.
fn outgrown(api: &Api, address: &Address, set: &Value) -> Result<Vec<Growing>, Status> {
    let Some(kind) = api.kind(&super::storage::CLAIMS) else { return Ok(Vec::new()) };
    let mut outgrown = Vec::new();
    for (index, template) in templates(set).iter().enumerate() {
        let stem = template["metadata"]["name"].as_str().unwrap_or_default();
        let claims = Address::new(kind, &address.namespace, &format!("{stem}-{}-", address.name));
        let range = Range { prefix: claims.key(), limit: CLAIMS_COMPARED_MAX, ..Range::default() };
        let page = api.store.range(&range).map_err(Status::internal)?;
        for entry in &page.entries {
            let claim = codec::value(&entry.object)?;
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            // A set of a longer name may have claims that begin so, too.
            let ordinal = name.rsplit_once('-').map(|(_, ordinal)| ordinal).unwrap_or_default();
            let is_own = name.len() == stem.len() + address.name.len() + ordinal.len() + 2
                && ordinal.bytes().all(|byte| byte.is_ascii_digit());
            if is_own && super::storage::grows(template, &claim) {
                outgrown.push(Growing::of(index, template));
                break;
            }
        }
    }
    Ok(outgrown)
}

impl Growing {
    fn of(index: usize, template: &Value) -> Growing {
        Growing { index, class: template["spec"]["storageClassName"].as_str().map(str::to_owned) }
    }

    /// The class of its claims, if that is there and does not let volumes grow.
    fn class_that_refuses(&self, api: &Api) -> Result<Option<String>, Status> {
        let class = match &self.class {
            Some(class) => Some(class.clone()),
            None => super::storage::default_class(api)?,
        };
        let Some(class) = class else { return Ok(None) };
        Ok((super::storage::allows_expansion(api, &class)? == Some(false)).then_some(class))
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
