//! Containers: the CRI-shaped trait and what stands behind it.
//!
//! The node agent says which sandboxes and containers it wants, by value; an implementation makes them.
//! This crate must never know an API server, a pod's spec or a restart policy.
//!
//! Read next: [`api`] (the traits and their values), [`rootfs`] (what a runtime needs of an image),
//! [`images`] (who gives it), [`native`] (containers by libcontainer), [`simulated`] (containers that are
//! only values).

pub mod api;
pub mod images;
pub mod native;
pub mod rootfs;
pub mod simulated;
