//! The loop that controllers and the scheduler run in, and what it needs.
//!
//! It knows no kind and decides nothing: what a controller knows, decides and writes is its own. Like those
//! that run in it, it touches nothing but the API, and keeps nothing that could not be learnt again from it.
//!
//! - [`runner`]: the loop that owns a controller, one task each, and runs executions beside it;
//! - [`picture`]: what a controller knows, fed by events;
//! - [`queue`]: which keys are to be decided about, with back-off and delays;
//! - [`barrier`]: no second decision before the view has seen the writes of the first;
//! - [`recorder`]: events that people see in `kubectl describe`.
//!
//! ```text
//!   client::reflect ──Event──▶ runner ──apply──▶ view
//!                                │  ▲              │ decide (pure)
//!                     executions │  │ Outcome      ▼
//!                                ▼  │            Plan
//!                             execute ──writes──▶ API        recorder ──events──▶ API
//! ```

pub mod barrier;
pub mod pacing;
pub mod picture;
pub mod queue;
pub mod recorder;
pub mod runner;
