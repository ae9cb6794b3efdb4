//! Databases on the real thing: their rows are there after whatever happened to a pod, and their images
//! come from a registry where there is one. Needs root and the images of `cargo xtask images`.

mod postgres;
mod redis;
mod registry;
