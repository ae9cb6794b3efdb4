//! The native runtime: containers by youki's libcontainer, one tiny shim process for each.
//!
//! The agent may be stopped, killed or replaced at any moment without disturbing a container: what it must
//! know again lies in files, and each container's shim goes on by itself. libcontainer must never be called
//! in the agent's own process.
//!
//! Read next: `runtime.rs` (the agent's side), `shim/mod.rs` (the other processes), `layout.rs` (the files),
//! `plan.rs` (what a container is made of).

mod adopt;
mod capabilities;
mod cgroups;
mod connect;
mod containers;
mod devices;
mod frame;
mod layout;
mod mounts;
mod plan;
mod purge;
mod runtime;
mod sandboxes;
mod session;
mod shim;
#[cfg(test)]
mod testing;
mod user;

pub use purge::Leftovers;
pub use runtime::NativeRuntime;
pub use shim::{is_shim, shim_main};
