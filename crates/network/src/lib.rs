//! The pod network of a node and the service proxy.
//!
//! Read next: [`pod_network`] (the trait that the node agent uses).

pub mod pod_network;
