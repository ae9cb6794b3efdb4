//! The Kubernetes API: one generic path for every kind.
//!
//! A request is authenticated, authorised, decoded, defaulted, admitted, validated and committed by the same
//! code whatever its kind; what differs between kinds is one descriptor ([`kind::Kind`]) in one file of
//! [`kinds`]. This crate must never decide anything about workloads.
//!
//! Read next: [`kind`] (what a descriptor says), [`kinds`] (the kinds there are).

pub mod kind;
pub mod kinds;
