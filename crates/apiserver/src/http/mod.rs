//! The Kubernetes API over HTTPS.
//!
//! [`server`] accepts connections, [`route`] finds out what a request is, [`resources`] answers it through
//! the pipeline, [`respond`] and [`negotiate`] give the answer its form. Nothing here decides about objects.

pub(crate) mod frames;
pub(crate) mod negotiate;
pub(crate) mod respond;

mod fixed;
mod resources;
mod route;
mod server;
mod watch;

pub(crate) use server::Carrier;
pub use server::serve;
