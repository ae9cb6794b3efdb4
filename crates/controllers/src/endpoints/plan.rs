//! What to write for one service: pure.
//!
//! Read next: [`super::slices`] and [`super::legacy`], which decide about the two forms.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Endpoints;
use model::meta;

use super::slices::{self, SliceWrites};
use super::view::{PodEntry, View};
use super::{ENDPOINTS_MANAGED_BY_LABEL, NAME, legacy};
use reconcile::runner::ObjectKey;

/// Endpoints with more addresses than this are not rewritten with every single change ...
const SMALL: usize = 100;
/// ... but at most once in this long for each address: with 1,000 addresses some 200 kB once a second.
const PAUSE_PER_ADDRESS: Duration = Duration::from_millis(1);

/// What to do to the Endpoints object.
#[derive(Debug, Clone, PartialEq)]
pub enum EndpointsWrite {
    /// Makes it.
    Create(Box<Endpoints>),
    /// Writes it, with the revision that was decided about.
    Update(Box<Endpoints>),
    /// Deletes what is left of a service that is gone.
    Delete {
        /// The object's uid.
        uid: String,
    },
}

/// What to do for one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Of which namespace.
    pub namespace: String,
    /// Of which name.
    pub name: String,
    /// Its slices.
    pub slices: SliceWrites,
    /// Its Endpoints.
    pub endpoints: Option<EndpointsWrite>,
    /// When to look again though nothing has changed.
    pub requeue_after: Option<Duration>,
}

impl Plan {
    /// True when there is nothing to write.
    pub fn is_quiet(&self) -> bool {
        self.slices.is_empty() && self.endpoints.is_none()
    }
}

/// Decides about one service.
pub fn plan(view: &View, key: &ObjectKey, now: Timestamp) -> Plan {
    let mut plan = Plan { namespace: key.namespace.clone(), name: key.name.clone(), ..Plan::default() };
    let current = view.endpoints(key);
    let Some(entry) = view.service(key) else {
        plan.endpoints = current.filter(|endpoints| is_ours(endpoints)).map(|endpoints| {
            EndpointsWrite::Delete { uid: endpoints.metadata.uid.clone().unwrap_or_default() }
        });
        return plan;
    };
    // What is being deleted keeps its endpoints until it is gone; what has no selector is its maker's.
    if entry.selector().is_none() || meta::is_terminating(&entry.service.metadata) {
        return plan;
    }
    let pods: Vec<&PodEntry> = view.members(key, entry).collect();
    plan.slices = slices::plan(&entry.service, &pods, &view.slices(key));
    let wanted = legacy::wanted(&entry.service, &pods, current);
    plan.endpoints = match current {
        None => Some(EndpointsWrite::Create(Box::new(wanted))),
        Some(current) if legacy::is_same(current, &wanted) => None,
        Some(_) => Some(EndpointsWrite::Update(Box::new(wanted))),
    };
    if let (Some(EndpointsWrite::Update(wanted)), Some(sent)) = (&plan.endpoints, entry.endpoints_sent) {
        plan.requeue_after = pause(wanted, sent, now);
        if plan.requeue_after.is_some() {
            plan.endpoints = None;
        }
    }
    plan
}

/// How long large Endpoints must wait after they were sent.
fn pause(wanted: &Endpoints, sent: Timestamp, now: Timestamp) -> Option<Duration> {
    let count = legacy::count(wanted);
    if count <= SMALL {
        return None;
    }
    let pause = PAUSE_PER_ADDRESS * u32::try_from(count).unwrap_or(u32::MAX);
    let passed = Duration::try_from(now.duration_since(sent)).unwrap_or_default();
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let manager = labels.and_then(|labels| labels.get(ENDPOINTS_MANAGED_BY_LABEL));
    manager.is_some_and(|manager| manager == NAME) && !meta::is_terminating(&endpoints.metadata)
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SliceWrites { create, update, delete } = &self.slices;
        write!(
            formatter,
            "slices: create {}, update {}, delete {}; endpoints: {}",
            create.len(),
            update.len(),
            delete.len(),
            match &self.endpoints {
                None => "leave".to_owned(),
                Some(EndpointsWrite::Create(endpoints)) => format!("create {}", legacy::count(endpoints)),
                Some(EndpointsWrite::Update(endpoints)) => format!("update {}", legacy::count(endpoints)),
                Some(EndpointsWrite::Delete { .. }) => "delete".to_owned(),
            }
        )
    }
}
