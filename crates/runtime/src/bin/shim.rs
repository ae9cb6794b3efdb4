//! The runtime's jobs as a binary of their own, for tests and measurements; the product is one binary that
//! calls `shim_main` itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    runtime::native::shim_main(&args)
}
