//! The Kubernetes API over HTTPS.

pub(crate) mod frames;
pub(crate) mod negotiate;
