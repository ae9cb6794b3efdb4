//! The claim templates of a StatefulSet: what they must be, and what may change about them (KEP-4650).
//!
//! What may change is what can change on a live claim too, whether the set asks for that or not: a template
//! that only new claims follow is as good. Whether a class can grow volumes is for the claim's own admission
//! to say, when it comes to it: the class may be applied after the set.

use model::field::{Error, ErrorList, Path};
use model::stateful_set::ClaimUpdates;
use serde_json::Value;

use super::check::{self, root};
use super::pod_spec::resources::quantity;
use super::read::{self, Read};
use super::volume_check;

/// What an update may change about a claim template.
const UPDATABLE: &str = "updates to volumeClaimTemplates for fields other than 'metadata.labels', \
    'metadata.annotations', 'spec.resources.requests.storage' and 'spec.volumeAttributesClassName' are \
    forbidden";

/// How claims are updated.
pub(super) fn update_strategy(spec: &Value) -> ErrorList {
    let path = root("spec.volumeClaimUpdateStrategy");
    let mut errors = ErrorList::new();
    let strategy = spec.at("volumeClaimUpdateStrategy");
    check::one_of_if_set(strategy, &path, "type", &ClaimUpdates::NAMES, &mut errors);
    errors
}

/// The templates of a set.
pub(super) fn templates(spec: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let claims = spec.list("volumeClaimTemplates");
    for (index, claim) in claims.iter().enumerate() {
        let path = root("spec.volumeClaimTemplates").index(index);
        let name = claim.text("metadata.name");
        let at = path.child("metadata.name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            errors.extend(check::each(&at, name, model::names::dns1123_label(name)));
        }
        if !name.is_empty() && claims[..index].iter().any(|other| other.text("metadata.name") == name) {
            errors.push(Error::duplicate(&at, name));
        }
        errors.extend(check::labels(claim.at("metadata.labels"), &path.child("metadata.labels")));
        let annotations = claim.at("metadata.annotations");
        errors.extend(check::annotations(annotations, &path.child("metadata.annotations")));
        errors.extend(volume_check::claim_spec(claim.at("spec"), &path.child("spec")));
    }
    errors
}

/// What is wrong with a change of the templates. What is allowed in it is taken over into `munged`, a copy of
/// the new spec that then is the old one as far as templates go.
pub(super) fn update(munged: &mut Value, new: &Value, old: &Value) -> ErrorList {
    let (new, old_templates) = (new.list("volumeClaimTemplates"), old.list("volumeClaimTemplates"));
    let mut errors = ErrorList::new();
    if new.len() != old_templates.len() {
        return errors;
    }
    for (index, (claim, (new, old))) in
        read::list_mut(munged, "volumeClaimTemplates").zip(new.iter().zip(old_templates)).enumerate()
    {
        let path = root("spec.volumeClaimTemplates").index(index);
        take_over(claim, old);
        if !check::same(claim, old) {
            errors.push(Error::forbidden(&path, UPDATABLE));
        }
        errors.extend(shrunk(new, old, &path));
    }
    errors
}

/// Gives a template back what it may change.
fn take_over(claim: &mut Value, old: &Value) {
    for key in ["labels", "annotations"] {
        read::keep(read::object_mut(claim, "metadata"), old.at("metadata"), key);
    }
    let spec = read::object_mut(claim, "spec");
    read::keep(spec, old.at("spec"), "volumeAttributesClassName");
    let requests = read::object_mut(read::object_mut(spec, "resources"), "requests");
    read::keep(requests, old.at("spec.resources.requests"), "storage");
}

/// Claims cannot shrink, so that a template that asks for less could only be followed by new ones.
fn shrunk(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let storage = |claim: &Value| quantity(claim.at("spec.resources.requests.storage"));
    let is_less = matches!((storage(new), storage(old)), (Some(new), Some(old)) if new < old);
    let at = path.child("spec.resources.requests.storage");
    is_less.then(|| Error::forbidden(&at, "field can not be less than previous value"))
}
