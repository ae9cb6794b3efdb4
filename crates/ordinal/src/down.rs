//! `ordinal down`: stops a cluster and removes what it made on this machine.
//!
//! The data (objects, images, volumes) stays unless it is asked to go: a volume is never deleted in passing.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cli::DownArguments;
use crate::control::{self, Request};
use crate::data_dir::{DataDir, Settings};
use crate::{kubeconfig, output};

/// Time a running cluster gets to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between two looks at whether it has.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Carries the command out.
pub(crate) async fn run(arguments: &DownArguments) -> Result<()> {
    let data_dir = DataDir::find(&arguments.data_dir)?;
    let Some(mut settings) = data_dir.settings()? else {
        output::line(format_args!("there is no cluster in {}", data_dir.root().display()));
        return Ok(());
    };
    if data_dir.is_locked() {
        stop(&data_dir).await?;
    }
    let lock = data_dir.lock()?;
    remove(&data_dir, &settings).await?;
    let name = kubeconfig::context_name(data_dir.root(), &settings.id);
    let mut left = Vec::new();
    for path in std::mem::take(&mut settings.kubeconfigs) {
        if let Err(error) = kubeconfig::remove_from(&path, &name) {
            tracing::warn!("take the context {name} out of {}: {error:#}", path.display());
            left.push(path);
        }
    }
    settings.kubeconfigs = left;
    if arguments.delete_data {
        drop(lock);
        std::fs::remove_dir_all(data_dir.root())
            .with_context(|| format!("remove {}", data_dir.root().display()))?;
        output::line("the cluster and its data are gone");
    } else {
        data_dir.write_settings(&settings)?;
        let path = data_dir.root().display();
        output::line(format_args!(
            "the cluster is down; its data stays in {path} (remove it with: ordinal down --data-dir {path} --delete-data)"
        ));
    }
    Ok(())
}

async fn stop(data_dir: &DataDir) -> Result<()> {
    control::ask(data_dir, &Request::Stop).await.context("ask the running cluster to stop")?;
    let stopped = async {
        while data_dir.is_locked() {
            tokio::time::sleep(STOP_POLL).await;
        }
    };
    if tokio::time::timeout(STOP_TIMEOUT, stopped).await.is_err() {
        bail!("the running cluster did not stop within {STOP_TIMEOUT:?}; end it, then run this again");
    }
    Ok(())
}

/// Removes what the cluster made on this machine outside its directory: containers first, then what they
/// used. Without root there is nothing.
pub(crate) async fn remove(data_dir: &DataDir, settings: &Settings) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (root, id) = (data_dir.path("runtime"), settings.id.clone());
    let node = data_dir.path("node");
    tokio::task::spawn_blocking(move || -> Result<()> {
        runtime::native::NativeRuntime::purge(&root, &id).context("remove containers")?;
        node::purge(&node).context("remove the pods' directories")?;
        Ok(())
    })
    .await
    .context("remove containers")??;
    network::purge::purge(&settings.network(data_dir)).await.context("remove the pod network")
}
