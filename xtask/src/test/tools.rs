//! What the tests need of the machine, and how it gets there.
//!
//! Only root on a system with apt-get has packages installed; elsewhere what is missing is named and the
//! tests that need it say that they were skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::{process, tree};

/// Programs and the Debian packages that hold them.
const PACKAGES: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("busybox", "busybox-static"),
    ("mount", "mount"),
    ("dpkg-deb", "dpkg"),
];

/// The release whose client we hold ourselves to, as a Go module.
const KUBECTL_MODULE: &str = "v0.32.4";
const KUBECTL_VERSION: &str = "v1.32.4";

/// kubectl is this and its library; its own repository cannot be built as a module.
const KUBECTL_PROGRAM: &str = r#"package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
"#;

/// Installs what is missing as far as that can be done.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing: Vec<_> = PACKAGES.iter().filter(|(program, _)| process::find(program).is_none()).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        if is_root() && process::find("apt-get").is_some() {
            install_packages(&packages)?;
        } else {
            println!("missing, so that some tests will be skipped: {}", packages.join(", "));
        }
    }
    if process::find("kubectl").is_none() {
        if process::find("go").is_some() {
            build_kubectl().context("build kubectl")?;
        } else {
            println!(
                "missing: kubectl {KUBECTL_VERSION}, and no go to build it: put one of them on the path; \
                 until then tests with the real client are skipped"
            );
        }
    }
    Ok(())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    println!("installing {}", packages.join(", "));
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet=2");
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        process::run(&mut command)
    };
    // The lists of packages may be missing or stale on a fresh machine.
    install().or_else(|_| {
        process::run(Command::new("apt-get").args(["--quiet=2", "update"]))?;
        install()
    })
}

fn build_kubectl() -> anyhow::Result<()> {
    let tools = tree::tools();
    let source = tools.join("kubectl-source");
    println!("building kubectl {KUBECTL_VERSION} into {}", tools.display());
    fs::create_dir_all(&source).with_context(|| format!("make {}", source.display()))?;
    fs::write(source.join("main.go"), KUBECTL_PROGRAM)?;
    let modules =
        ["kubectl", "component-base"].map(|name| format!("\tk8s.io/{name} {KUBECTL_MODULE}\n")).concat();
    fs::write(source.join("go.mod"), format!("module kubectl\n\ngo 1.23.0\n\nrequire (\n{modules})\n"))?;
    go(&source, &["mod", "tidy"])?;
    let version = format!("-s -w -X k8s.io/component-base/version.gitVersion={KUBECTL_VERSION}");
    // Written under another name first: a kubectl that is there is whole.
    go(&source, &["build", "-trimpath", "-ldflags", &version, "-o", "kubectl.new", "."])?;
    fs::rename(source.join("kubectl.new"), tools.join("kubectl")).context("put kubectl into its place")
}

fn go(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("go");
    command.current_dir(directory).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod").args(arguments);
    process::run(&mut command)
}
