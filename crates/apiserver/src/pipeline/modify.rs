//! Read, change, write back: what update, patch and every subresource that writes have in common.

use std::sync::Arc;

use model::encoded::Encoded;
use model::field::{Error, Path};
use model::status::Status;
use serde_json::Value;
use store::{Entry, Expected};

use super::commit::Outcome;
use super::{TRIES_MAX, Written, metadata};
use crate::admission::{Operation, Review};
use crate::api::Api;
use crate::codec;
use crate::request::{Address, Context, WriteOptions};

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status.
    Status,
    /// A namespace's `spec.finalizers`.
    Finalize,
    /// What the server itself changes (a binding, a deletion mark): nothing is prepared or validated by the
    /// kind, because the change is not the client's.
    Server,
}

impl Part {
    fn subresource(self) -> &'static str {
        match self {
            Part::Main | Part::Server => "",
            Part::Status => "status",
            Part::Finalize => "finalize",
        }
    }
}

/// What a write wants the object to be.
pub(crate) struct Proposal {
    /// The object.
    pub(crate) object: Value,
    /// Its `resourceVersion` is the client's and must be the stored one; otherwise the change is tried again
    /// on what stands there meanwhile.
    pub(crate) conditional: bool,
}

impl Api {
    /// The stored object, or 404.
    pub(crate) fn entry(&self, address: &Address) -> Result<Entry, Status> {
        self.store.get(&address.key()).ok_or_else(|| Status::not_found(&address.kind.gvr, &address.name))
    }

    /// The stored object as clients see it, with its tree.
    pub(crate) fn current(&self, address: &Address) -> Result<(Arc<Encoded>, Value), Status> {
        let object = codec::present(address.kind, &self.entry(address)?.object)?;
        let value = codec::value(&object)?;
        Ok((object, value))
    }

    /// Changes an object by `change`, which is called again when somebody else was faster.
    pub(crate) async fn modify(
        &self,
        cx: &Context,
        address: &Address,
        part: Part,
        options: &WriteOptions,
        mut change: impl FnMut(&Value) -> Result<Proposal, Status>,
    ) -> Result<Written, Status> {
        let modified = || Status::modified(&address.kind.gvr, &address.name);
        for _ in 0..TRIES_MAX {
            let (current, old) = self.current(address)?;
            let proposal = change(&old)?;
            let conditional = proposal.conditional;
            match self.modify_once(cx, address, part, options, &current, &old, proposal).await? {
                Outcome::Done(object) => return Ok(Written { object, created: false }),
                Outcome::Outdated if conditional => return Err(modified()),
                Outcome::Outdated | Outcome::Disturbed => {}
            }
        }
        Err(modified())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `modify`, which has them at hand")]
    async fn modify_once(
        &self,
        cx: &Context,
        address: &Address,
        part: Part,
        options: &WriteOptions,
        current: &Arc<Encoded>,
        old: &Value,
        proposal: Proposal,
    ) -> Result<Outcome, Status> {
        let kind = address.kind;
        let mut new = proposal.object;
        check_preconditions(address, &new, old)?;
        metadata::carry_over(&mut new, old);
        kind.strategy.default(&mut new);
        let mut review = Review::new(Operation::Update, address, cx, options.dry_run);
        review.subresource = part.subresource();
        if part != Part::Server {
            self.admission.mutate(self, &mut review, &mut new, Some(old)).await?;
            kind.strategy.default(&mut new);
        }
        prepare(&mut new, old, part, address);
        let generation_changes = part == Part::Main
            && kind.strategy.has_generation()
            && kind.strategy.changes_generation(&new, old);
        if generation_changes {
            metadata::bump_generation(&mut new);
        }
        let mut errors = metadata::validate(&new, kind);
        errors.extend(metadata::validate_update(&new, old));
        match part {
            Part::Main => errors.extend(kind.strategy.validate_update(&new, old)),
            Part::Status => errors.extend(kind.strategy.validate_status_update(&new, old)),
            Part::Finalize | Part::Server => {}
        }
        if !errors.is_empty() {
            return Err(Status::invalid(&kind.gvk, &address.name, &errors));
        }
        if part != Part::Server {
            self.admission.validate(self, &mut review, Some(&new), Some(old)).await?;
        }
        if part == Part::Main {
            kind.strategy.warnings(&new, Some(old)).into_iter().for_each(|warning| cx.warn(warning));
        }
        let revision = current.revision();
        metadata::of_mut(&mut new).insert("resourceVersion".to_owned(), revision.to_string().into());
        if new == *old {
            return Ok(Outcome::Done(Arc::clone(current)));
        }
        if options.dry_run {
            return codec::unstored(kind, &new).map(Outcome::Done);
        }
        if is_over(&new, old, address) {
            self.admission.release(self, &mut review, old);
            return self.remove(address, revision, &new, review.companions).await;
        }
        self.put(address, &new, Expected::At(revision), review.companions).await
    }
}

fn prepare(new: &mut Value, old: &Value, part: Part, address: &Address) {
    let strategy = address.kind.strategy;
    match part {
        Part::Main => strategy.prepare_update(new, old),
        Part::Status => strategy.prepare_status_update(new, old),
        Part::Finalize => {
            let finalizers = new["spec"]["finalizers"].take();
            let mut kept = old.clone();
            kept["metadata"] = new["metadata"].take();
            kept["spec"]["finalizers"] =
                if finalizers.is_null() { Value::Array(Vec::new()) } else { finalizers };
            *new = kept;
        }
        Part::Server => {}
    }
}

/// The revision and uid that the client named, if it named any.
fn check_preconditions(address: &Address, new: &Value, old: &Value) -> Result<(), Status> {
    let Address { kind, name, .. } = address;
    let asked = metadata::text(new, "resourceVersion");
    if asked.is_empty() && kind.update_needs_resource_version {
        let path = Path::new("metadata.resourceVersion");
        let error = Error::invalid(&path, 0, "must be specified for an update");
        return Err(Status::invalid(&kind.gvk, name, &vec![error]));
    }
    if !asked.is_empty() && asked.parse::<u64>().is_err() {
        let path = Path::new("metadata.resourceVersion");
        let error = Error::invalid(&path, asked, "must be an unsigned integer");
        return Err(Status::invalid(&kind.gvk, name, &vec![error]));
    }
    let (uid, stored) = (metadata::text(new, "uid"), metadata::text(old, "uid"));
    if !uid.is_empty() && uid != stored {
        let detail = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Status::conflict(&kind.gvr, name, &detail));
    }
    if !asked.is_empty() && asked != metadata::text(old, "resourceVersion") {
        return Err(Status::modified(&kind.gvr, name));
    }
    Ok(())
}

/// True when this update takes away the last thing that a deletion waited for.
fn is_over(new: &Value, old: &Value, address: &Address) -> bool {
    let grace = metadata::of(old).get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    let namespace = address.kind.subresources.contains(&crate::kind::Subresource::Finalize);
    let content_remains =
        namespace && new["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    metadata::is_terminating(new)
        && metadata::finalizers(new).is_empty()
        && grace.unwrap_or(0) == 0
        && !content_remains
}
