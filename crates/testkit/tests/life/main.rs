//! The life of stateful software under the real kubectl, in real containers.
//!
//! Every test has a namespace of its own in a cluster that tests of the same moment share; those that end or
//! remove a cluster have one of their own. Nothing here reaches into the product: what a user sees is judged.
//! Read next: [`space`].

mod better;
mod command;
mod deployments;
mod disruption;
mod dns;
mod down;
mod foresight;
mod jobs;
mod pods;
mod probes;
mod restart;
mod security;
mod sets;
mod space;
mod streams;
mod updates;
mod volumes;
