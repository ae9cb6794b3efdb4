//! Delete: at once, gracefully, or when the finalizers are gone.
//!
//! [`plan`] decides, purely; the rest carries it out.

use std::sync::Arc;

use client::{DeleteOptions, Propagation};
use jiff::{SignedDuration, Timestamp};
use model::encoded::Encoded;
use model::field::{Error, Path};
use model::status::Status;
use serde_json::Value;
use store::Expected;

use super::TRIES_MAX;
use super::commit::Outcome;
use super::metadata::{self, FOREGROUND, ORPHAN};
use crate::admission::{Operation, Review};
use crate::api::Api;
use crate::kind::{Kind, Subresource};
use crate::request::{Address, Context, DeleteRequest};

/// What became of a deletion.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Encoded>),
    /// It is still there and will go when what it waits for is over.
    Pending(Arc<Encoded>),
}

/// What a deletion does to an object.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Removes it.
    Remove,
    /// Writes this instead; the removal comes later.
    Mark(Value),
    /// Nothing: it is being deleted already.
    Leave,
}

impl Api {
    /// Deletes an object.
    pub async fn delete(
        &self,
        cx: &Context,
        address: &Address,
        request: &DeleteRequest,
    ) -> Result<Deleted, Status> {
        let precondition = &request.options.precondition;
        for _ in 0..TRIES_MAX {
            let (current, old) = self.current(address)?;
            check_precondition(address, &old, &request.options)?;
            let mut review = Review::new(Operation::Delete, address, cx, request.dry_run);
            self.admission.validate(self, &mut review, None, Some(&old)).await?;
            let plan = plan(address.kind, &old, &request.options, self.now());
            let outcome = match plan {
                Plan::Leave => return Ok(Deleted::Pending(current)),
                _ if request.dry_run => return Ok(Deleted::Gone(current)),
                Plan::Mark(new) => {
                    let at = Expected::At(current.revision());
                    match self.put(address, &new, at, review.companions).await? {
                        Outcome::Done(object) => return Ok(Deleted::Pending(object)),
                        outcome => outcome,
                    }
                }
                Plan::Remove => {
                    self.admission.release(self, &mut review, &old);
                    self.remove(address, current.revision(), &old, review.companions).await?
                }
            };
            match outcome {
                Outcome::Done(object) => return Ok(Deleted::Gone(object)),
                Outcome::Outdated | Outcome::Disturbed if precondition.resource_version.is_some() => break,
                Outcome::Outdated | Outcome::Disturbed => {}
            }
        }
        Err(Status::modified(&address.kind.gvr, &address.name))
    }
}

/// The answer's body for an object that is gone, where the kind does not show the object itself.
pub(crate) fn success(address: &Address, last: &Encoded) -> Result<Value, Status> {
    let uid = last.metadata().map_err(Status::internal)?.uid.clone().unwrap_or_default();
    let mut details = serde_json::Map::new();
    details.insert("name".to_owned(), address.name.as_str().into());
    if !address.kind.gvk.group.is_empty() {
        details.insert("group".to_owned(), address.kind.gvk.group.as_ref().into());
    }
    details.insert("kind".to_owned(), address.kind.gvr.resource.as_ref().into());
    details.insert("uid".to_owned(), uid.into());
    Ok(serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    }))
}

/// Refuses an object that is not the one that the request means.
pub(crate) fn check_precondition(
    address: &Address,
    old: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let conflict = |what: &str, asked: &str, stored: &str| {
        let detail =
            format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {stored}");
        Status::conflict(&address.kind.gvr, &address.name, &detail)
    };
    let (uid, version) = (metadata::text(old, "uid"), metadata::text(old, "resourceVersion"));
    if let Some(asked) = &options.precondition.uid
        && asked != uid
    {
        return Err(conflict("UID", asked, uid));
    }
    if let Some(asked) = &options.precondition.resource_version
        && asked != version
    {
        return Err(conflict("ResourceVersion", asked, version));
    }
    Ok(())
}

/// Decides what a deletion does.
pub(crate) fn plan(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    if kind.subresources.contains(&Subresource::Finalize) {
        return plan_with_content(kind, old, options, now);
    }
    if kind.deleted_gracefully && metadata::is_terminating(old) {
        return shorten(old, options, now);
    }
    let finalizers = finalizers_after(kind, old, options);
    let grace = if kind.deleted_gracefully { grace_seconds(kind, old, options) } else { 0 };
    if grace == 0 && finalizers.is_empty() {
        return Plan::Remove;
    }
    let mut new = old.clone();
    metadata::set_finalizers(&mut new, finalizers);
    if !metadata::is_terminating(old) {
        mark(&mut new, now, grace);
    }
    if new == *old { Plan::Leave } else { Plan::Mark(new) }
}

fn mark(object: &mut Value, now: Timestamp, grace_seconds: i64) {
    let until = now.checked_add(SignedDuration::from_secs(grace_seconds)).unwrap_or(now);
    let fields = metadata::of_mut(object);
    fields.insert("deletionTimestamp".to_owned(), metadata::time(until));
    fields.insert("deletionGracePeriodSeconds".to_owned(), grace_seconds.into());
    metadata::bump_generation(object);
}

/// A second deletion of an object that is ending may only make it end sooner.
fn shorten(old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    let grace = metadata::of(old).get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    let (Some(grace), Some(asked)) = (grace, options.grace_period_seconds) else { return Plan::Leave };
    let asked = if asked < 0 { 1 } else { asked };
    if asked == 0 && metadata::finalizers(old).is_empty() {
        return Plan::Remove;
    }
    if asked >= grace {
        return Plan::Leave;
    }
    let until = metadata::text(old, "deletionTimestamp").parse::<Timestamp>().unwrap_or(now);
    let until = until.checked_sub(SignedDuration::from_secs(grace - asked)).unwrap_or(now);
    let mut new = old.clone();
    let fields = metadata::of_mut(&mut new);
    fields.insert("deletionTimestamp".to_owned(), metadata::time(until));
    fields.insert("deletionGracePeriodSeconds".to_owned(), asked.into());
    Plan::Mark(new)
}

/// A namespace: first marked, removed only when nothing is left in it.
fn plan_with_content(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Plan {
    if metadata::is_terminating(old) {
        let content = old["spec"]["finalizers"].as_array().is_some_and(|left| !left.is_empty());
        let empty = !content && metadata::finalizers(old).is_empty();
        return if empty { Plan::Remove } else { Plan::Leave };
    }
    let mut new = old.clone();
    metadata::set_finalizers(&mut new, finalizers_after(kind, old, options));
    mark(&mut new, now, 0);
    metadata::of_mut(&mut new).remove("deletionGracePeriodSeconds");
    new["status"]["phase"] = "Terminating".into();
    Plan::Mark(new)
}

fn grace_seconds(kind: &Kind, old: &Value, options: &DeleteOptions) -> i64 {
    let own = kind.strategy.grace_period_seconds(old);
    let unscheduled = old["spec"]["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unscheduled || ended {
        return 0;
    }
    match options.grace_period_seconds.unwrap_or(own) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// The finalizers that the chosen propagation leaves on the object.
fn finalizers_after(kind: &Kind, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut finalizers = metadata::finalizers(old);
    let had = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    let wanted = match options.propagation {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
        None if had(ORPHAN) => Some(ORPHAN),
        None if had(FOREGROUND) => Some(FOREGROUND),
        None => kind.orphans_by_default.then_some(ORPHAN),
    };
    for name in [ORPHAN, FOREGROUND] {
        if Some(name) != wanted {
            finalizers.retain(|finalizer| finalizer != name);
        }
    }
    if let Some(name) = wanted
        && !finalizers.iter().any(|finalizer| finalizer == name)
    {
        finalizers.push(name.to_owned());
    }
    finalizers
}

/// `metav1.DeleteOptions` from a body; every field is optional.
pub(crate) fn options(body: &Value) -> Result<DeleteRequest, Status> {
    let gvk = model::resource::GroupVersionKind::constant("meta.k8s.io", "v1", "DeleteOptions");
    let invalid = |error: Error| Status::invalid(&gvk, "", &vec![error]);
    let mut request = DeleteRequest::default();
    let grace = &body["gracePeriodSeconds"];
    if !grace.is_null() {
        let text = "json: cannot unmarshal gracePeriodSeconds into an integer";
        request.options.grace_period_seconds = Some(grace.as_i64().ok_or_else(|| Status::bad_request(text))?);
    }
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    request.options.precondition.uid = text(&body["preconditions"]["uid"]);
    request.options.precondition.resource_version = text(&body["preconditions"]["resourceVersion"]);
    let orphan = body["orphanDependents"].as_bool();
    request.options.propagation = match (text(&body["propagationPolicy"]).as_deref(), orphan) {
        (Some(_), Some(_)) => {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            let value = body["propagationPolicy"].clone();
            return Err(invalid(Error::invalid(&Path::new("propagationPolicy"), value, detail)));
        }
        (Some(policy), None) => Some(propagation(policy).map_err(invalid)?),
        (None, Some(true)) => Some(Propagation::Orphan),
        (None, Some(false)) => Some(Propagation::Background),
        (None, None) => None,
    };
    request.dry_run =
        body["dryRun"].as_array().is_some_and(|stages| stages.iter().any(|stage| stage == "All"));
    Ok(request)
}

/// `propagationPolicy` by its name.
pub(crate) fn propagation(policy: &str) -> Result<Propagation, Error> {
    match policy {
        "Orphan" => Ok(Propagation::Orphan),
        "Foreground" => Ok(Propagation::Foreground),
        "Background" => Ok(Propagation::Background),
        other => {
            let path = Path::new("propagationPolicy");
            Err(Error::not_supported(&path, other, &["Foreground", "Background", "Orphan"]))
        }
    }
}
