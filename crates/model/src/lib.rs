//! The object model: what a Kubernetes object, its name, its metadata and its errors are.
//!
//! Everything here is a pure function or a value. This crate must never do I/O, be async, read a clock
//! or draw a random number; those come in as parameters ([`clock::Clock`]).
//!
//! Read next: [`encoded`] (one version of one object), [`status`] (every error a client sees),
//! [`field`] (what a validation error is made of), [`resource`] (how a kind is named).

pub mod body;
pub mod clock;
pub mod defaults;
pub mod duration;
pub mod encoded;
pub mod field;
pub mod indexes;
pub mod job;
pub mod meta;
pub mod names;
pub mod node_selector;
pub mod ordinal;
pub mod patch;
pub mod placement;
pub mod pod;
pub mod protobuf;
pub mod quantity;
pub mod read;
pub mod resource;
pub mod review;
pub mod revision;
pub mod schedule;
pub mod schema;
pub mod selector;
pub mod stateful_set;
pub mod status;
pub mod taint;
pub mod time_zone;
pub mod volume;
