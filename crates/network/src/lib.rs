//! The pod network of a node and the service proxy.
//!
//! Pods hang on one bridge, each with a /32 address and the bridge's own address as its gateway: every
//! packet between two pods is routed, never switched, so that connection tracking sees both directions
//! without `br_netfilter`. Services are nftables maps. This crate must never send a packet itself, and what
//! it makes in the kernel carries the cluster's id, so that it can be listed and removed.
//!
//! Tasks: [`proxy::run`] keeps the nftables rules up to date. [`bridge::BridgeNetwork`] has no task.
//!
//! Read next: [`pod_network`] (the trait that the node agent uses), [`bridge`], [`proxy`], [`config`].

pub mod bridge;
pub mod config;
pub mod conntrack;
mod host_ports;
mod ipam;
mod link;
mod namespace;
pub mod nft;
pub mod pod_network;
pub mod proxy;
pub mod purge;
pub mod simulated;
