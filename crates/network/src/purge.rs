//! Removes everything that a cluster's network made on this machine.
//!
//! Works from names and records alone, so that it also cleans up after a crash. Not being there is no error.

use std::fs;
use std::io;

use crate::config::NetworkConfig;
use crate::link;
use crate::namespace;
use crate::nft;
use crate::pod_network::NetworkError;

/// Removes the cluster's interfaces, namespaces, routes, rules and records. Pods must have ended before.
pub async fn purge(config: &NetworkConfig) -> Result<(), NetworkError> {
    let script = [config.services_table(), config.host_ports_table()].map(|table| nft::remove_table(&table));
    nft::run(&script.concat()).await.map_err(|error| failed("remove the nftables rules", &error))?;
    let config = config.clone();
    let purged = tokio::task::spawn_blocking(move || purge_blocking(&config)).await;
    match purged {
        Ok(result) => result.map_err(|error| failed("remove the pod network", &error)),
        Err(error) => Err(failed("remove the pod network", &error)),
    }
}

fn purge_blocking(config: &NetworkConfig) -> io::Result<()> {
    link::with_handle(async |handle| {
        if let Some(bridge) = link::index(&handle, &config.bridge_name()).await? {
            for port in link::ports(&handle, bridge).await? {
                link::remove(&handle, &port).await?;
            }
            // Its addresses and routes go with it.
            link::remove(&handle, &config.bridge_name()).await?;
        }
        link::remove_blackhole(&handle, config.pod_range).await
    })?;
    match fs::read_dir(config.namespaces_dir()) {
        Ok(files) => {
            for file in files {
                namespace::remove(&file?.path())?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match fs::remove_dir_all(&config.state_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(operation: &str, error: &dyn std::error::Error) -> NetworkError {
    NetworkError::Failed { operation: operation.to_owned(), reason: error.to_string() }
}
