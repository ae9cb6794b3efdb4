//! The pod spec: its defaults and what it must be. Pods have one, StatefulSets a template of one.
//!
//! One file a topic: [`defaults`], [`check`] (the whole), [`containers`], [`probes`], [`volumes`], [`env`],
//! [`resources`], [`security`], [`scheduling`], [`label_keys`], [`warnings`]. Nothing here knows whose spec
//! it is.

pub(crate) mod check;
pub(crate) mod containers;
pub(crate) mod env;
pub(crate) mod label_keys;
pub(crate) mod probes;
pub(crate) mod resources;
pub(crate) mod scheduling;
pub(crate) mod security;
pub(crate) mod volumes;
pub(crate) mod warnings;

pub(crate) use model::defaults;
