//! The controllers together against the real API in memory: endpoints, garbage collection, namespaces,
//! accounts and nodes. What the pure tests cannot see: watches, preconditions, finalizers, subresources.

mod daemon_sets;
mod deployments;
mod disruption;
mod endpoints;
mod garbage;
mod jobs;
mod mirroring;
mod namespaces;
mod nodes;
mod replica_sets;
mod reported;
mod taints;
mod world;
