//! The Kubernetes API as controllers, scheduler and agents use it.
//!
//! Calls are typed; the way they travel is a [`transport::Transport`] that is handed in: straight into the
//! API server of the same process, or over the network. This crate must never decide anything, cache
//! anything or know which parts run where.
//!
//! Read next: [`typed`] (the client), [`reflect`] (a live picture of a kind), [`node`] (what the API server
//! asks of a node), [`review`] (what it asks of the StatefulSet controller), [`transport`].

pub mod node;
pub mod reflect;
pub mod review;
pub mod transport;
pub mod typed;

pub use reflect::{Change, reflect, reflect_target};
pub use transport::{
    Body, Call, DeleteOptions, ListOptions, PatchKind, Precondition, Propagation, Reply, Target, Transport,
    Verb, Watch, WatchEvent, WatchEventKind,
};
pub use typed::{Client, Scope, Typed};
