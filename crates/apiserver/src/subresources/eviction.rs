//! `pods/eviction`: a deletion that asks the pod's disruption budget first.
//!
//! What the budget says is decided in [`super::disruption`]. The budget is charged, the pod marked and its
//! deletion begun in one transaction, which stands on the very versions of pod and budget that were judged:
//! two evictions never share one disruption, and none is spent on a pod that stays.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::encoded::Encoded;
use model::status::{Reason, Status};
use serde_json::Value;
use store::{Compare, Entry, Expected, Op, Range, Txn};
use tokio::sync::{Mutex, MutexGuard};

use super::disruption::{self, Answer};
use crate::admission::{Operation, Review};
use crate::api::Api;
use crate::codec;
use crate::kind::Kind;
use crate::pipeline::commit::Outcome;
use crate::pipeline::delete::{self, Plan};
use crate::pipeline::metadata;
use crate::request::{Address, Context, DeleteRequest, WriteOptions};

/// Tries of one eviction, upstream's number. Other evictions wait in line, so that each failed try is a write
/// of the pod's agent or of the budget's controller.
const TRIES_MAX: usize = 20;
/// When a client may try again after that.
const CONFLICT_RETRY_SECONDS: u32 = 10;
/// Lines that evictions wait in, by namespace. A drain evicts hundreds of pods at once that share a budget;
/// without a line all but one would fail each round. An eviction holds its line for one commit (a
/// millisecond or a few), and other namespaces seldom share it.
const LINES: usize = 64;

/// Where evictions of one namespace wait for each other.
pub(crate) struct Lines(Vec<Mutex<()>>);

impl Default for Lines {
    fn default() -> Lines {
        Lines((0..LINES).map(|_| Mutex::default()).collect())
    }
}

impl Lines {
    async fn turn(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(namespace);
        let line = usize::try_from(hash % LINES as u64).unwrap_or_default();
        self.0[line].lock().await
    }
}

/// Evicts the pod at `address`.
pub(crate) async fn post(
    api: &Api,
    cx: &Context,
    address: &Address,
    eviction: &Value,
    options: &WriteOptions,
) -> Result<(), Status> {
    let name = metadata::text(eviction, "name");
    if !name.is_empty() && name != address.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut request = delete::options(&eviction["deleteOptions"])?;
    request.dry_run |= options.dry_run;
    let _turn = api.evictions.turn(&address.namespace).await;
    let mut disturbed_budget = None;
    for _ in 0..TRIES_MAX {
        let tried = once(api, cx, address, &request).await?;
        match tried.outcome {
            Outcome::Done(_) => return Ok(()),
            Outcome::Outdated => disturbed_budget = None,
            Outcome::Disturbed => disturbed_budget = tried.budget,
        }
    }
    let Some(budget) = disturbed_budget else {
        return Err(Status::modified(&address.kind.gvr, &address.name));
    };
    let text = format!("Timeout: couldn't update PodDisruptionBudget {budget:?} due to conflicts");
    let mut status = Status::new(Reason::Timeout, text);
    status.details.retry_after_seconds = CONFLICT_RETRY_SECONDS;
    Err(status)
}

/// How a try ended, and the budget that had a say in it.
struct Tried {
    outcome: Outcome,
    budget: Option<String>,
}

async fn once(api: &Api, cx: &Context, address: &Address, request: &DeleteRequest) -> Result<Tried, Status> {
    let (current, old) = api.current(address)?;
    delete::check_precondition(address, &old, &request.options)?;
    let now = metadata::time(api.now());
    let permit = permit(api, address, &old, &now)?;
    let mut review = Review::new(Operation::Delete, address, cx, request.dry_run);
    api.admission.validate(api, &mut review, None, Some(&old)).await?;
    let budget = permit.budget;
    if request.dry_run {
        return Ok(Tried { outcome: Outcome::Done(current), budget });
    }
    review.companions.compares.extend(permit.companions.compares);
    review.companions.ops.extend(permit.companions.ops);
    let new = disruption::marked(&old, &now);
    let revision = current.revision();
    let outcome = match delete::plan(address.kind, &new, &request.options, api.now()) {
        Plan::Leave if new == old => Outcome::Done(current),
        Plan::Leave => api.put(address, &new, Expected::At(revision), review.companions).await?,
        Plan::Mark(new) => api.put(address, &new, Expected::At(revision), review.companions).await?,
        Plan::Remove => {
            api.admission.release(api, &mut review, &old);
            api.remove(address, revision, &new, review.companions).await?
        }
    };
    Ok(Tried { outcome, budget })
}

/// What the pod's budget wants written, and to stay as it is, if the pod goes.
#[derive(Default)]
struct Permit {
    companions: Txn,
    budget: Option<String>,
}

fn permit(api: &Api, address: &Address, pod: &Value, now: &Value) -> Result<Permit, Status> {
    let kind = api.kind_at("policy", "v1", "poddisruptionbudgets");
    let Some(kind) = kind.filter(|_| !disruption::needs_no_budget(pod)) else {
        return Ok(Permit::default());
    };
    let mut found = budgets(api, kind, address, pod)?.into_iter();
    let Some(entry) = found.next() else { return Ok(Permit::default()) };
    if found.next().is_some() {
        return Err(disruption::more_than_one());
    }
    let budget = codec::value(&entry.object)?;
    let key = entry.key.to_string();
    let expected = Expected::At(entry.object.revision());
    let mut companions = Txn { compares: vec![Compare { key: key.clone(), expected }], ops: Vec::new() };
    if let Answer::Charged(charged) = disruption::ask(&budget, pod, now)? {
        let value = codec::template(kind, &charged)?;
        companions.ops.push(Op::Put { key, value, ttl_seconds: kind.ttl_seconds });
    }
    Ok(Permit { companions, budget: Some(metadata::text(&budget, "name").to_owned()) })
}

/// The budgets that are about a pod.
fn budgets(api: &Api, kind: &'static Kind, address: &Address, pod: &Value) -> Result<Vec<Entry>, Status> {
    let labels: BTreeMap<String, String> = metadata::of(pod)
        .get("labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let prefix = Address::new(kind, &address.namespace, "").prefix();
    let page = api.store.range(&Range { prefix, ..Range::default() }).map_err(Status::internal)?;
    let mut found = Vec::new();
    for entry in page.entries {
        if disruption::covers(&*decode(&entry.object)?, &labels) {
            found.push(entry);
        }
    }
    Ok(found)
}

fn decode(object: &Encoded) -> Result<std::sync::Arc<PodDisruptionBudget>, Status> {
    object.decode().map_err(|error| Status::internal(format!("{error}: {}", error.source)))
}
