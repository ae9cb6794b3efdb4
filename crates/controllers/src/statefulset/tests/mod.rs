//! Tests of the StatefulSet controller: scripts with golden output, properties over random histories.
//!
//! `facts.md` numbers what upstream does; a script in `scripts/` names the facts it shows.

mod differential;
mod golden;
mod oracle;
mod properties;
mod reported;
mod script;
mod world;
