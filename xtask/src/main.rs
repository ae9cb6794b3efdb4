//! What developers and CI do around the product: `cargo xtask tidy`, `test`, `images`, `demo`, `bench`.
//!
//! Nothing here is shipped and nothing here is linked into the product, so it may start programs, ask the
//! system clock and install packages. It depends on no crate of the workspace: it must build in seconds on a
//! fresh clone, before anything else does. Read next: [`test`], which says what must hold.

#![allow(clippy::disallowed_methods, reason = "measuring and waiting here is about the real clock")]

mod bench;
mod cluster;
mod demo;
mod images;
mod process;
mod protobuf_table;
mod test;
mod tidy;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What developers and CI do around Ordinal")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what a compiler cannot: layering, headers, sizes, links, format
    Tidy,
    /// Install what is needed, check everything that must hold, and count what passed and failed
    Test(test::Options),
    /// Make the OCI archives that examples and tests use, from Debian packages
    Images {
        /// Which ones; all when none is named
        names: Vec<String>,
    },
    /// Build, start a cluster with a Redis set, and show what a stateful pod keeps
    Demo(demo::Options),
    /// Measure the figures that SPECIFICATION.md promises
    Bench(bench::Options),
    /// Make the table by which protobuf bodies are decoded, for a new version of the API
    ProtobufTable {
        /// The directory that holds the published `.proto` files
        #[arg(long)]
        protos: PathBuf,
        /// Directories that hold the Go sources of the same messages
        #[arg(long, required = true)]
        go: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Tidy => tidy::run(),
        Task::Test(options) => test::run(&options),
        Task::Images { names } => make_images(&names),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::ProtobufTable { protos, go } => print_table(&protos, &go),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn make_images(names: &[String]) -> anyhow::Result<bool> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for archive in images::build(&tree::images(), &names)? {
        println!("{}", archive.display());
    }
    Ok(true)
}

fn print_table(protos: &std::path::Path, go: &[PathBuf]) -> anyhow::Result<bool> {
    print!("{}", protobuf_table::generate(protos, go).context("read the published sources")?);
    Ok(true)
}
