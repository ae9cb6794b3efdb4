//! `ordinal up`: a one-node cluster in this process.
//!
//! Opens what is on disk, puts the parts together ([`parts`]), says when the API answers, applies the
//! manifests that were named and then waits to be stopped. Stopping leaves containers running.

pub(crate) mod manifests;
mod parts;
mod progress;
mod readiness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{RuntimeChoice, UpArguments};
use crate::clock::SystemClock;
use crate::data_dir::{self, Asked, DataDir, Lock, Settings};
use crate::supervise::Supervisor;
use crate::traces::Traces;
use crate::up::parts::Parts;
use crate::{down, kubeconfig, output, port};

/// Time the parts get to end after a stop; what is still under way then is dropped, as in a crash.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Kubeconfigs that a cluster remembers to have its key in: whoever names a new file at each start has the
/// key in the last of them only.
const KUBECONFIGS_MAX: usize = 16;

/// Carries the command out.
pub(crate) async fn run(arguments: UpArguments) -> Result<()> {
    // What can be told from the words alone, before anything is made.
    let objects = manifests::read(&arguments.manifests)?;
    if let Some(path) = &arguments.write_kubeconfig {
        kubeconfig::check_own(path)?;
    }
    if let Some(path) = arguments.registries.as_ref().filter(|path| !path.is_file()) {
        bail!("{} is no file; name one with --registries, or leave it out", path.display());
    }
    let data_dir = DataDir::find(&arguments.data_dir)?;
    let traces = Traces::before(&data_dir);
    let stop = CancellationToken::new();
    let running = match start(&data_dir, &arguments, &traces, &stop).await {
        Ok(running) => running,
        Err(error) => {
            traces.remove();
            return Err(error);
        }
    };
    let Running { parts, mut settings, by_signal, _lock } = running;
    let done = async {
        parts.ready().await;
        let (name, path) = write_kubeconfig(&data_dir, &mut settings, &arguments, &parts)?;
        output::line(format_args!("API      {}", parts.server()));
        output::line(format_args!("context  {name} in {}", path.display()));
        manifests::apply(&parts.api, &objects).await?;
        if arguments.wait {
            progress::wait(parts.client(), &objects).await?;
        }
        output::line(match settings.runtime {
            RuntimeChoice::Native => "ready    stop with Ctrl-C; containers go on running",
            RuntimeChoice::Simulated => "ready    stop with Ctrl-C",
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
    if by_signal.is_cancelled() && settings.runtime == RuntimeChoice::Native {
        let again = data_dir.root().display();
        output::line(format_args!("stopped  what runs goes on until: ordinal down --data-dir {again}"));
    } else {
        output::line("stopped");
    }
    result
}

/// What runs in this process, and the right to run it.
struct Running {
    parts: Parts,
    settings: Settings,
    /// Cancelled by Ctrl-C, and not where `ordinal down` or an error stops the cluster.
    by_signal: CancellationToken,
    _lock: Lock,
}

/// Starts the cluster. After an error nothing runs, and what a new cluster made outside its directory is
/// gone.
async fn start(
    data_dir: &DataDir,
    arguments: &UpArguments,
    traces: &Traces,
    stop: &CancellationToken,
) -> Result<Running> {
    data_dir.create()?;
    let lock = data_dir.lock()?;
    let asked = Asked {
        listen: arguments.listen,
        pod_range: arguments.pod_cidr,
        service_range: arguments.service_cidr,
        runtime: arguments.runtime,
    };
    let mut settings = data_dir::settle(data_dir, asked)?;
    if settings.runtime == RuntimeChoice::Native && !rustix::process::geteuid().is_root() {
        bail!("real containers need root; run this as root, or use --runtime simulated");
    }
    let listener = port::listen(settings.listen).await?;
    settings.listen = listener.local_addr()?;
    data_dir.write_settings(&settings)?;
    // From here on Ctrl-C is an orderly stop.
    let by_signal = CancellationToken::new();
    stop_on_signals(by_signal.clone(), stop.clone())?;
    let supervisor = Supervisor::new(stop.clone());
    let clock = Arc::new(SystemClock::default());
    let beside = supervisor.clone();
    match parts::start(data_dir, &settings, arguments, clock, listener, beside, stop.clone()).await {
        Ok(parts) => Ok(Running { parts, settings, by_signal, _lock: lock }),
        Err(error) => {
            stop.cancel();
            let _ = tokio::time::timeout(STOP_TIMEOUT, supervisor.ended()).await;
            if traces.are_all_new()
                && let Err(error) = down::remove(data_dir, &settings).await
            {
                tracing::warn!("remove what the failed start made: {error:#}");
            }
            Err(error)
        }
    }
}

/// Writes the administrator's key where it was asked for; remembers where first, for `ordinal down`.
fn write_kubeconfig(
    data_dir: &DataDir,
    settings: &mut Settings,
    arguments: &UpArguments,
    parts: &Parts,
) -> Result<(String, PathBuf)> {
    let name = kubeconfig::context_name(data_dir.root(), &settings.id);
    let config = kubeconfig::config(&name, &parts.server(), &parts.certificates);
    let path = match &arguments.write_kubeconfig {
        Some(path) => std::path::absolute(path)?,
        None => std::path::absolute(kubeconfig::users_path()?)?,
    };
    settings.kubeconfigs.retain(|known| *known != path);
    settings.kubeconfigs.push(path.clone());
    while settings.kubeconfigs.len() > KUBECONFIGS_MAX {
        kubeconfig::remove_from(&settings.kubeconfigs.remove(0), &name)?;
    }
    data_dir.write_settings(settings)?;
    kubeconfig::write(&data_dir.path("kubeconfig"), &config)?;
    match arguments.write_kubeconfig {
        Some(_) => kubeconfig::write(&path, &config)?,
        None => kubeconfig::merge_into(&path, &config)?,
    }
    Ok((name, path))
}

fn stop_on_signals(by_signal: CancellationToken, stop: CancellationToken) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        by_signal.cancel();
        stop.cancel();
    });
    Ok(())
}
