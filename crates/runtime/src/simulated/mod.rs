//! A runtime that runs nothing: containers start, end and answer on command, for tests and for scale.
//!
//! It keeps values in a map and one timer queue for all containers, so that an idle container costs neither
//! a task nor a thread. Time is tokio's and the given clock's; nothing here is random, so a simulation that
//! pauses tokio's time is deterministic. It must never touch the machine.
//!
//! What a container does is said by its image's name (`sim/crash:3s`) or by a [`Script`] set through the
//! runtime's own methods, which a test holds beside the trait object.
//!
//! Read next: `script.rs` (what a container does), `runtime.rs` (how it comes about), `images.rs`.

mod images;
mod runtime;
mod script;

pub use images::SimulatedImages;
pub use runtime::SimulatedRuntime;
pub use script::Script;
