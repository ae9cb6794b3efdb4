//! Load and stopwatch for the benchmark: a client as others write them, over TLS, in a process of its own.
//!
//! Each command prints one JSON object. Moments are given in nanoseconds of the system clock, so that the
//! program that started the cluster can subtract its own. Read next: [`api`] (the connection), [`measure`].

#![allow(clippy::disallowed_methods, reason = "a stopwatch reads the system clock")]

mod api;
mod dns;
mod measure;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    /// Address of the API
    #[arg(long)]
    address: SocketAddr,
    /// The cluster's data directory, for its certificates
    #[arg(long)]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Wait until `/readyz` says ok
    Ready,
    /// Wait until a set is ready, and until a name resolves
    Wait {
        #[arg(long)]
        set: String,
        #[arg(long)]
        replicas: u64,
        #[arg(long)]
        name: Option<String>,
    },
    /// Create ConfigMaps of 1 KiB as fast as the server takes them
    Create {
        #[arg(long, default_value_t = 64)]
        clients: usize,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Create a set and wait until it is ready
    Set {
        #[arg(long)]
        replicas: u64,
        #[arg(long, default_value = "OrderedReady")]
        policy: String,
        #[arg(long, default_value = "busybox")]
        image: String,
        /// So many sets at once, of so many replicas each
        #[arg(long, default_value_t = 1)]
        sets: u64,
        /// Also measure the time between one ordinal's readiness and the start of the next
        #[arg(long)]
        gaps: bool,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let api = api::Api { address: arguments.address, data_dir: arguments.data_dir };
    let measured = match arguments.command {
        Command::Ready => measure::ready(&api).await?,
        Command::Wait { set, replicas, name } => measure::wait(&api, &set, replicas, name.as_deref()).await?,
        Command::Create { clients, seconds } => measure::create(&api, clients, seconds).await?,
        Command::Set { replicas, policy, image, sets, gaps } => {
            let wanted = measure::Wanted { sets, replicas, policy, image };
            if gaps { measure::gaps(&api, &wanted).await? } else { measure::sets(&api, &wanted).await? }
        }
    };
    println!("{measured}");
    Ok(())
}
