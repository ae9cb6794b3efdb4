//! The node agent: it makes the containers of this node's pods what the API says, and tells the API how
//! they are.
//!
//! One task ([`agent`]) owns all state. It feeds changes of the API, events of the runtime and outcomes of
//! actions into one [`view::PodView`] a pod, asks [`plan::plan`] what to do and has [`execute`] do it in
//! tasks of a `JoinSet`, each of which ends in one [`execute::Outcome`]. Beside it run the writer of
//! [`events`] and the [`registration`] of the node (Node object, Lease).
//!
//! It must never run a container itself (that is `runtime`), give out an address (`network`) or know how a
//! volume is made (`storage`).
//!
//! Read next: [`agent`], [`plan`], [`view`].

pub mod adopt;
pub mod agent;
pub mod config;
pub mod directory;
pub mod env;
pub mod events;
pub mod execute;
pub mod fields;
pub mod files;
pub mod gateway;
mod grpc;
pub mod logs;
mod machine;
mod notices;
pub mod plan;
pub mod probe;
mod pull_secret;
pub mod purge;
mod referred;
pub mod registration;
pub mod resources;
pub mod sources;
pub mod start;
pub mod status;
mod tls;
pub mod view;
pub mod volumes;
mod worker;

pub use agent::Agent;
pub use config::{AgentConfig, Capacity};
pub use machine::Machine;
pub use purge::purge;
