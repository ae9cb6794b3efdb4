//! Cluster DNS: authoritative for `cluster.local` from a live view, a forwarder for the rest.
//!
//! Names follow the Kubernetes DNS specification 1.1.0 (`kubernetes/dns`, `docs/specification.md`). An answer
//! is computed from the view at the moment of the question; nothing is cached, least of all that a name does
//! not exist. This crate must never ask the API server while answering.
//!
//! Tasks: [`feed::run`] keeps the zone up to date from two watches; [`server::Server::run`] answers UDP and
//! TCP. They share a [`zone::SharedZone`] and nothing else.
//!
//! Read next: [`zone`] (what is known), [`answer`] (what is said), [`server`], [`forward`].

pub mod answer;
pub mod feed;
pub mod forward;
pub mod server;
pub mod zone;
