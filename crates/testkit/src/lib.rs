//! What tests of the whole are made with; not shipped.
//!
//! Read next: [`cluster`] (the real binary with the real kubectl).

pub mod cluster;
