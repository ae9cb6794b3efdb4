//! The Kubernetes API: one generic path for every kind.
//!
//! A request is authenticated, authorised, decoded, defaulted, admitted, validated and committed by the same
//! code whatever its kind; what differs between kinds is one descriptor ([`kind::Kind`]) in one file of
//! [`kinds`]. This crate must never decide anything about workloads.
//!
//! Read next: [`kind`] (what a descriptor says), [`kinds`] (the kinds there are), [`api`] (what an API is
//! made of), `pipeline` (the path), `http` (how clients get to it).

mod admission;
pub mod api;
mod authn;
pub mod authz;
pub mod bootstrap;
mod codec;
mod discovery;
mod events;
pub mod http;
pub mod kind;
pub mod kinds;
pub mod kubernetes_service;
mod metrics;
pub mod openapi;
pub mod pipeline;
pub mod pki;
pub mod request;
mod reviews;
mod subresources;
mod table;
mod transport;

pub use api::{Api, Config};
