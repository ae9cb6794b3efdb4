//! `ordinal up`: a one-node cluster in this process.
//!
//! Opens what is on disk, puts the parts together ([`parts`]), says when the API answers, applies the
//! manifests that were named and then waits to be stopped. Stopping leaves containers running.

mod manifests;
mod parts;
mod progress;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{RuntimeChoice, UpArguments};
use crate::clock::SystemClock;
use crate::data_dir::{self, DataDir};
use crate::{kubeconfig, output};

/// Time the parts get to end after a stop; what is still under way then is dropped, as in a crash.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Carries the command out.
pub(crate) async fn run(arguments: UpArguments) -> Result<()> {
    if arguments.runtime == RuntimeChoice::Native && !rustix::process::geteuid().is_root() {
        bail!("real containers need root; run this as root, or use --runtime simulated");
    }
    let native = arguments.runtime == RuntimeChoice::Native;
    // Before anything slow, so that a file that is not there is said at once.
    let objects = manifests::read(&arguments.manifests)?;
    let data_dir = DataDir::find(&arguments.data_dir)?;
    data_dir.create()?;
    let _lock = data_dir.lock()?;
    let settings = data_dir::settle(&data_dir, arguments.listen, arguments.pod_cidr, arguments.service_cidr)?;
    let stop = CancellationToken::new();
    // From here on Ctrl-C is an orderly stop.
    stop_on_signals(stop.clone())?;
    let clock = Arc::new(SystemClock::default());
    let parts = parts::start(&data_dir, &settings, &arguments, clock, stop.clone()).await?;

    let name = kubeconfig::context_name(data_dir.root(), &settings.id);
    let config = kubeconfig::config(&name, &parts.server(), &parts.certificates);
    kubeconfig::write(&data_dir.path("kubeconfig"), &config)?;
    let path = match &arguments.write_kubeconfig {
        Some(path) => {
            kubeconfig::write(path, &config)?;
            path.clone()
        }
        None => kubeconfig::merge_into_users(&config)?,
    };
    output::line(format_args!("API      {}", parts.server()));
    output::line(format_args!("context  {name} in {}", path.display()));

    let done = async {
        manifests::apply(&parts.api, &objects).await?;
        if arguments.wait {
            progress::wait(parts.client(), &objects).await?;
        }
        output::line(if native {
            "ready    stop with Ctrl-C; containers go on running"
        } else {
            "ready    stop with Ctrl-C"
        });
        anyhow::Ok(())
    };
    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        result = done => result,
    };
    match &result {
        Ok(()) => stop.cancelled().await,
        // Whoever names manifests wants them, and a script must not wait for what will not come.
        Err(_) => stop.cancel(),
    }
    parts.stopped(STOP_TIMEOUT).await;
    if native {
        let again = data_dir.root().display();
        output::line(format_args!("stopped  what runs goes on until: ordinal down --data-dir {again}"));
    }
    result
}

fn stop_on_signals(stop: CancellationToken) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    #[expect(clippy::disallowed_methods, reason = "lives as long as the process")]
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
