//! Volumes: the CSI-shaped driver trait and the built-in local driver.
//!
//! This crate must never know a claim, a pod or an API server: it is asked for volumes by name and for
//! mounts by path.
//!
//! Read next: [`driver`] (the trait), [`local`] (the driver `local.ordinal.dev`), [`mounts`] (the kernel).

pub mod driver;
pub mod local;
pub mod mounts;
pub mod simulated;

pub use local::LocalDriver;
