//! What people see: logs, errors, colour.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        // What is tried again by itself is for those who ask.
        0 => "warn,controllers=error,scheduler=error,client=error,node=error",
        1 => "info,hyper=warn,rustls=warn",
        _ => "debug,hyper=info,rustls=info,h2=info",
    };
    let filter = EnvFilter::try_from_env("ORDINAL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(coloured(std::io::stderr().is_terminal()))
        .with_target(verbose > 1)
        .init();
}

/// True when colour is wanted on a stream that is, or is not, a terminal.
pub(crate) fn coloured(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error with everything that led to it.
pub(crate) fn error(error: &anyhow::Error) {
    let label = if coloured(std::io::stderr().is_terminal()) { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{label} {error:#}");
}

/// Prints a line to standard output; a reader that went away is no error.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Lines up cells in columns two spaces apart, the last one as it is.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![render(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|row| render(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}
