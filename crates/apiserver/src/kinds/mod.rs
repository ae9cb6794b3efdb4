//! The built-in kinds, one file each.
//!
//! A file says what is peculiar to its kind: names, defaults, validation, update rules, table columns,
//! selectable fields. It must never hold a request handler. What several kinds share: [`read`] (fields of
//! JSON trees), [`check`] (validation), [`cells`] (tables), [`describe`] (descriptors), [`pod_spec`].

mod cells;
mod check;
mod config_map;
mod controller_revision;
mod cron_job;
mod cron_job_check;
mod daemon_set;
mod daemon_set_check;
mod deployment;
mod deployment_check;
mod describe;
mod endpoint_slice;
mod endpoints;
mod event;
mod events_event;
mod job;
mod job_check;
mod job_policy_check;
mod job_status_check;
mod lease;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod pod_row;
mod pod_spec;
mod pod_update;
pub(crate) mod priority_class;
mod replica_set;
mod replica_set_check;
mod secret;
mod service;
mod service_account;
mod service_check;
mod stateful_set;
mod stateful_set_check;
mod stateful_set_claims;
mod stateful_set_review;
mod storage_class;
mod volume_check;

use model::read;

use crate::kind::Kind;

pub use pod_row::pod_status;

/// Every built-in kind, in the order in which discovery lists them.
pub fn all() -> Vec<&'static Kind> {
    vec![
        &config_map::CONFIG_MAP,
        &endpoints::ENDPOINTS,
        &event::EVENT,
        &namespace::NAMESPACE,
        &node::NODE,
        &persistent_volume_claim::PERSISTENT_VOLUME_CLAIM,
        &persistent_volume::PERSISTENT_VOLUME,
        &pod::POD,
        &secret::SECRET,
        &service_account::SERVICE_ACCOUNT,
        &service::SERVICE,
        &controller_revision::CONTROLLER_REVISION,
        &daemon_set::DAEMON_SET,
        &deployment::DEPLOYMENT,
        &replica_set::REPLICA_SET,
        &stateful_set::STATEFUL_SET,
        &cron_job::CRON_JOB,
        &job::JOB,
        &lease::LEASE,
        &endpoint_slice::ENDPOINT_SLICE,
        &events_event::EVENTS_EVENT,
        &pod_disruption_budget::POD_DISRUPTION_BUDGET,
        &priority_class::PRIORITY_CLASS,
        &storage_class::STORAGE_CLASS,
        &stateful_set_review::STATEFUL_SET_REVIEW,
    ]
}

#[cfg(test)]
mod tests;
