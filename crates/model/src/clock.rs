//! The clock as an input.
//!
//! No code outside the composition root reads the system clock: it is handed a [`Clock`]. Waiting is done
//! with `tokio::time`, which a simulation pauses and advances together with its own `Clock`.

use jiff::Timestamp;

/// Tells the present moment. The composition root passes the system's, a simulation its own.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. Never goes backwards between two calls on one clock.
    fn now(&self) -> Timestamp;
}

/// A clock that stands where it was put; for tests of pure code.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}
