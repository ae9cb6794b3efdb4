//! What tests of the whole are made with; not shipped.
//!
//! Read next: [`cluster`] (the real binary with the real kubectl), [`registry`] (images to pull).

pub mod cluster;
pub mod registry;
