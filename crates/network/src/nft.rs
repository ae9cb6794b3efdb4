//! Runs the `nft` program.
//!
//! A script is one transaction: all of it happens or nothing. nftables has no maintained library that
//! writes netlink itself under a licence we can take, and a process costs a few milliseconds; changes are
//! gathered while one runs.

use std::io;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Why a script was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The program could not be run.
    #[error("run nft (Debian package nftables)")]
    Run(#[source] io::Error),
    /// The kernel or the program refused the script.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// Carries out a script.
pub async fn run(script: &str) -> Result<(), NftError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(NftError::Run)?;
    let mut stdin = child.stdin.take().expect("standard input was asked for");
    // A program that ends early closes the pipe; its message says more than the write error.
    let _ = stdin.write_all(script.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(NftError::Run)?;
    if output.status.success() {
        Ok(())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(NftError::Refused(text.lines().take(4).collect::<Vec<_>>().join("; ")))
    }
}

/// A script that removes a table of the IPv4 family, whether or not it is there.
pub fn remove_table(table: &str) -> String {
    format!("add table ip {table}\ndelete table ip {table}\n")
}
