//! The controllers: each makes the cluster what one kind of object says it should be.
//!
//! A controller touches nothing but the API, and keeps nothing that it could not learn again from it. Each
//! is a folder of the same shape:
//!
//! - `mod.rs`: what it is, and its wiring: what it watches, which keys an event touches;
//! - `view.rs`: the picture in memory, fed by events;
//! - `plan.rs`: pure decisions, `fn plan(&View, now) -> Plan`; a plan is a value that can be printed;
//! - `execute.rs`: carries a plan out, makes no choices, may be cut off between any two writes;
//! - `tests/`: scripts with golden output, properties.
//!
//! The loop that each runs in is [`reconcile`].
//!
//! To add one: write the folder, implement [`reconcile::runner::Controller`], and offer a
//! `run(client, clock, ready, stop)` that hands its streams of events to [`reconcile::runner::run`] beside
//! its recorder's task.

pub mod api_resource;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption;
pub mod endpoint_mirroring;
pub mod endpoints;
pub mod garbage_collector;
pub mod job;
pub mod namespace;
pub mod node_lifecycle;
pub mod owned_index;
pub mod pod_writes;
pub mod replica_set;
pub mod service_account;
pub mod statefulset;
pub mod taint_eviction;
pub mod volumes;
pub mod writes;
