//! The `ordinal` binary: command line, configuration and the composition root.
//!
//! This is the only crate that knows which parts run in this process. It holds no logic of the cluster's own:
//! a decision that appears here belongs in another crate.
//!
//! Read next: [`cli`] (the commands), [`up`] (how the parts are put together), [`data_dir`] (what is on
//! disk).

mod check;
mod cli;
mod clock;
mod control;
mod data_dir;
mod down;
mod image;
mod kubeconfig;
mod machine_id;
mod output;
mod pki_files;
mod plan;
mod port;
mod remote;
mod status;
mod supervise;
mod traces;
mod up;
mod why;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // A container's shim is this binary again. It must stay small and single-threaded: nothing may come
    // before this.
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if runtime::native::is_shim(&arguments) {
        return runtime::native::shim_main(&arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(cli::WRONG_COMMAND_LINE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    output::start_logging(cli.verbose);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(cli::exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match cli.command {
            Command::Up(arguments) => up::run(arguments).await,
            Command::Down(arguments) => down::run(&arguments).await,
            Command::Image(arguments) => image::run(arguments).await,
            Command::Status(arguments) => status::run(&arguments).await,
            Command::Plan(arguments) => plan::run(&arguments).await,
            Command::Why(arguments) => why::run(&arguments).await,
            Command::Check(arguments) => check::run(&arguments),
        }
    });
    // Blocking work that is still under way (a pull) must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
