//! Keeps the parts of this process running.
//!
//! A part that ends or panics before it was told to is started again after a growing pause, and said so.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause before a part is started again: it doubles from the first to the second of these.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The parts of this process.
#[derive(Clone)]
pub(crate) struct Supervisor {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Supervisor {
    /// Runs parts until `stop`.
    pub(crate) fn new(stop: CancellationToken) -> Supervisor {
        Supervisor { tasks: TaskTracker::new(), stop }
    }

    /// Runs a part, again and again.
    pub(crate) fn keep<F>(
        &self,
        name: &'static str,
        mut start: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut pause = PAUSE.0;
            loop {
                let ended = AssertUnwindSafe(start(stop.clone())).catch_unwind().await;
                if stop.is_cancelled() {
                    return;
                }
                match ended {
                    Ok(()) => tracing::error!("{name} ended; it is started again in {pause:?}"),
                    Err(_) => tracing::error!("{name} panicked; it is started again in {pause:?}"),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE.1);
            }
        });
    }

    /// Runs something beside the parts, once; it must end by itself, at the stop at the latest.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Waits until every part has ended; `stop` must have been given.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
