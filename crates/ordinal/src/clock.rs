//! The system's clock: the one place that reads it.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use model::clock::Clock;

/// The system's clock, kept from going backwards within this process.
#[derive(Debug, Default)]
pub(crate) struct SystemClock {
    newest_us: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is where the clock comes from")]
        let now_us = Timestamp::now().as_microsecond();
        let newest_us = self.newest_us.fetch_max(now_us, Ordering::Relaxed).max(now_us);
        Timestamp::from_microsecond(newest_us).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
