//! The command line.
//!
//! Only words and their defaults; what a command does is in the module of its name.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Exit codes, as `--help` shows them.
const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 failed, the message says what to do next; 2 plan found a change that would be refused; \
3 no cluster runs in the data directory (status, plan, why; for down that is \
no failure); 64 the command line is wrong.

Colours are left out when NO_COLOR is set or the output is no terminal.";

/// Run stateful software on Kubernetes manifests.
#[derive(Debug, Parser)]
#[command(name = "ordinal", version, about, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    /// Say more: once for what happens, twice for everything (the variable ORDINAL_LOG overrides it).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a one-node cluster in the foreground; Ctrl-C stops it and leaves containers running.
    Up(UpArguments),
    /// Stop a cluster and remove everything it made on this machine but its data.
    Down(DownArguments),
    /// Images on this node.
    Image(ImageArguments),
    /// Show the ordinals of StatefulSets: pod, revision, claim, address, readiness.
    Status(StatusArguments),
    /// Say what applying manifests would do to StatefulSets, ordinal by ordinal; nothing is written.
    Plan(PlanArguments),
    /// Say why a StatefulSet or a pod is not there yet: the chain of reasons down to the cause.
    Why(WhyArguments),
    /// Say what this machine can and cannot do, and the fix for each.
    Check(CheckArguments),
}

/// Where a cluster keeps everything.
#[derive(Debug, Clone, Args)]
pub(crate) struct DataDirArgument {
    /// Directory of the cluster [default: /var/lib/ordinal as root, else the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeChoice {
    /// Real containers (needs root).
    #[default]
    Native,
    /// Pods that are only values: start, become ready and end by themselves (needs nothing).
    Simulated,
}

impl std::fmt::Display for RuntimeChoice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            RuntimeChoice::Native => "native",
            RuntimeChoice::Simulated => "simulated",
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArgument,
    /// Address and port of the API [default: 127.0.0.1:6443, or what the cluster had before]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Write the administrator's kubeconfig here and leave the user's own alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) write_kubeconfig: Option<PathBuf>,
    /// What runs containers; a cluster stays with it [default: native, or what the cluster had before]
    #[arg(long, value_enum)]
    pub(crate) runtime: Option<RuntimeChoice>,
    /// Apply this manifest once the API answers; may be given several times.
    #[arg(short = 'f', long = "filename", value_name = "MANIFEST")]
    pub(crate) manifests: Vec<PathBuf>,
    /// Say when every StatefulSet of the manifests is ready.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Addresses of pods [default: the first free of 10.244.0.0/16, 10.245.0.0/16, …]
    #[arg(long, value_name = "RANGE")]
    pub(crate) pod_cidr: Option<Ipv4Net>,
    /// Addresses of services [default: the first free of 10.96.0.0/16, 10.97.0.0/16, …]
    #[arg(long, value_name = "RANGE")]
    pub(crate) service_cidr: Option<Ipv4Net>,
    /// Mirrors and credentials of registries, in the form of k3s [default: <data-dir>/registries.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) registries: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DownArguments {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArgument,
    /// Remove the data directory too: objects, images and every volume with its content.
    #[arg(long)]
    pub(crate) delete_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArguments {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Read OCI or docker archives.
    Import {
        #[command(flatten)]
        data_dir: DataDirArgument,
        /// The archives.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the images.
    List {
        #[command(flatten)]
        data_dir: DataDirArgument,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArgument,
    /// One set, as sts/NAME or NAME; all of them when left out.
    #[arg(value_name = "sts/NAME")]
    pub(crate) set: Option<String>,
    /// Namespace [default: all of them, or `default` when a set is named]
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArgument,
    /// Manifest to plan; may be given several times.
    #[arg(short = 'f', long = "filename", value_name = "MANIFEST", required = true)]
    pub(crate) manifests: Vec<PathBuf>,
    /// Namespace of what names none [default: default]
    #[arg(short, long, default_value = "default", hide_default_value = true)]
    pub(crate) namespace: String,
    /// Plan the deletion of what the manifests name instead.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: OutputForm,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct WhyArguments {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArgument,
    /// A set as sts/NAME, or a pod as pod/NAME.
    #[arg(value_name = "sts/NAME|pod/NAME")]
    pub(crate) what: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArgument,
}

/// No cluster runs in the data directory.
#[derive(Debug, thiserror::Error)]
#[error("no cluster runs in {0}; start one with: ordinal up --data-dir {0}")]
pub(crate) struct NotRunning(pub(crate) String);

/// A plan found something that would be refused; what it is has been said.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the planned changes would be refused")]
pub(crate) struct WouldBeRefused(pub(crate) usize);

/// The exit code for a command line that is wrong: `EX_USAGE` of `sysexits.h`. Not clap's 2, which is what a
/// plan says of a refusal.
pub(crate) const WRONG_COMMAND_LINE: u8 = 64;

/// The exit code for an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let is_caused_by = |is: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(is);
    if is_caused_by(|cause| cause.is::<NotRunning>()) {
        3
    } else if is_caused_by(|cause| cause.is::<WouldBeRefused>()) {
        2
    } else {
        1
    }
}
