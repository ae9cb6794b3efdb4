//! What tests of the whole are made with; not shipped.
//!
//! Read next: [`cluster`] (the real binary with the real kubectl), [`registry`] (images to pull),
//! [`set_model`] (the StatefulSet plan in every state of a small world).

pub mod cluster;
pub mod registry;
pub mod set_model;
