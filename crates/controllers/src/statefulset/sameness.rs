//! When two revisions are the same: as the API would read what they record today. Pure.
//!
//! A revision records the text of templates, with the defaults of the version that made it. A later version
//! fills in more, or writes the same in another way; that must make no new revision, or an upgrade would
//! restart every pod.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use model::defaults;
use serde::Deserialize as _;
use serde_json::Value;

/// Revisions whose reading is kept: more than a history has by default, each a few kilobytes.
const KEPT_MAX: usize = 32;
/// Maps that mean nothing where they are empty. Others do: an `emptyDir` is all in its being there.
const MEANINGLESS_WHERE_EMPTY: [&str; 7] =
    ["annotations", "labels", "limits", "matchLabels", "nodeSelector", "overhead", "requests"];

/// What revisions of one set mean, each read once: what a revision records never changes.
#[derive(Debug, Default)]
pub struct Sameness {
    kept: RefCell<BTreeMap<String, Option<Arc<Normal>>>>,
}

/// What a revision records, with all defaults of today.
#[derive(Debug, PartialEq)]
struct Normal {
    template: Value,
    claims: Option<Value>,
}

impl Sameness {
    /// True when a revision means what this data means, which is given with its text.
    pub fn records(&self, revision: &ControllerRevision, (data, text): &(Value, String)) -> bool {
        let read = self.kept_or(text, || normal(data));
        read.is_some() && read == self.read(revision)
    }

    /// True when both make the same pods.
    pub fn make_same_pods(&self, one: &ControllerRevision, other: &ControllerRevision) -> bool {
        let template = |revision: &ControllerRevision| revision.data.0.pointer("/spec/template").cloned();
        if template(one).is_some() && template(one) == template(other) {
            return true;
        }
        let (one, other) = (self.read(one), self.read(other));
        matches!((one, other), (Some(one), Some(other)) if one.template == other.template)
    }

    fn read(&self, revision: &ControllerRevision) -> Option<Arc<Normal>> {
        let metadata = &revision.metadata;
        match (metadata.uid.as_deref(), metadata.name.as_deref()) {
            (Some(uid), Some(name)) => self.kept_or(&format!("{uid} {name}"), || normal(&revision.data.0)),
            _ => normal(&revision.data.0).map(Arc::new),
        }
    }

    fn kept_or(&self, key: &str, read: impl FnOnce() -> Option<Normal>) -> Option<Arc<Normal>> {
        if let Some(known) = self.kept.borrow().get(key) {
            return known.clone();
        }
        let read = read().map(Arc::new);
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key.to_owned(), read.clone());
        read
    }
}

/// Reads what a revision records; `None` where it records nothing that makes pods.
fn normal(data: &Value) -> Option<Normal> {
    // Typed first: a revision is data that anybody may have written.
    let template = PodTemplateSpec::deserialize(data.pointer("/spec/template")?).ok()?;
    let mut template = serde_json::to_value(template).ok()?;
    if let Some(spec) = template.get_mut("spec") {
        defaults::template(spec);
    }
    tidy(&mut template);
    let claims = match data.pointer("/spec/volumeClaimTemplates") {
        None | Some(Value::Null) => None,
        Some(claims) => Some(normal_claims(Vec::deserialize(claims).ok()?)?),
    };
    Some(Normal { template, claims })
}

fn normal_claims(claims: Vec<PersistentVolumeClaim>) -> Option<Value> {
    let mut all = Vec::with_capacity(claims.len());
    for claim in claims {
        let mut claim = serde_json::to_value(claim).ok()?;
        defaults::claim(&mut claim);
        if let Some(claim) = claim.as_object_mut() {
            claim.remove("status");
        }
        tidy(&mut claim);
        all.push(claim);
    }
    Some(Value::Array(all))
}

/// Removes what means nothing.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(fields) => {
            fields.values_mut().for_each(tidy);
            fields.retain(|key, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => {
                    !fields.is_empty() || !MEANINGLESS_WHERE_EMPTY.contains(&key.as_str())
                }
                _ => true,
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(change: &Value) -> Value {
        let mut data = json!({ "spec": {
            "template": {
                "$patch": "replace",
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "app", "image": "app:v1" }], "volumes": [
                    { "name": "scratch", "emptyDir": {} },
                ] },
            },
        } });
        model::patch::merge(&mut data, change);
        data
    }

    fn are_same(one: &Value, other: &Value) -> bool {
        let mut revision = ControllerRevision::default();
        revision.data.0 = one.clone();
        Sameness::default().records(&revision, &(other.clone(), other.to_string()))
    }

    fn spec(change: &Value) -> Value {
        data(&json!({ "spec": { "template": { "spec": change } } }))
    }

    #[test]
    fn what_differs_by_defaults_or_by_its_writing_is_the_same() {
        let old = data(&json!({}));
        for new in [
            spec(&json!({ "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30 })),
            spec(&json!({ "securityContext": {}, "nodeSelector": {}, "tolerations": [] })),
            spec(&json!({ "containers": [{
                "name": "app", "image": "app:v1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }] })),
            data(&json!({ "spec": { "template": { "metadata": { "creationTimestamp": null } } } })),
        ] {
            assert!(are_same(&old, &new) && are_same(&new, &old), "{new}");
        }
    }

    #[test]
    fn what_makes_other_pods_or_claims_is_another_revision() {
        let old = data(&json!({}));
        for new in [
            spec(&json!({ "dnsPolicy": "None" })),
            spec(&json!({ "enableServiceLinks": false })),
            spec(&json!({ "volumes": [{ "name": "scratch", "hostPath": { "path": "/x" } }] })),
            data(&json!({ "spec": { "template": { "metadata": { "annotations": { "a": "b" } } } } })),
            data(&json!({ "spec": { "volumeClaimTemplates": [] } })),
            json!({ "somebody": "else" }),
            json!({ "spec": { "template": 7 } }),
        ] {
            assert!(!are_same(&old, &new) && !are_same(&new, &old), "{new}");
        }
    }

    #[test]
    fn claim_templates_are_compared_with_their_defaults_too() {
        let claims = |claim: Value| data(&json!({ "spec": { "volumeClaimTemplates": [claim] } }));
        let old =
            claims(json!({ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] } }));
        let new = claims(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
            "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem" },
            "status": { "phase": "Pending" },
        }));
        assert!(are_same(&old, &new));
        let block = claims(json!({
            "metadata": { "name": "data" },
            "spec": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block" },
        }));
        assert!(!are_same(&old, &block));
        let mut revision = ControllerRevision::default();
        revision.data.0 = old;
        let mut other = ControllerRevision::default();
        other.data.0 = block;
        assert!(Sameness::default().make_same_pods(&revision, &other));
    }
}
