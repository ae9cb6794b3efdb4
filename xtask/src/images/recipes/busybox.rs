//! busybox: a shell and some hundred small programs in one static binary.

use std::path::Path;

use super::super::rootfs::Rootfs;
use super::Recipe;

pub(super) fn recipe() -> Recipe {
    Recipe {
        name: "busybox",
        tags: &[
            "busybox:latest",
            "busybox:stable",
            "busybox:glibc",
            "busybox:1",
            "busybox:1.28",
            "busybox:1.35",
            "busybox:1.36",
            "busybox:1.37",
        ],
        packages: &["busybox-static"],
        without: &["lib"],
        contents,
        scripts: &[],
        entrypoint: &[],
        command: &["sh"],
        environment: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        directory: "/",
        port: None,
        volume: None,
        stop_signal: None,
    }
}

fn contents(root: &Path) -> anyhow::Result<Rootfs> {
    let mut tree = Rootfs::debian();
    tree.users(&[("www-data", 33, 33, "/var/www")]);
    tree.busybox(root, "usr/bin")?;
    for applet in ["ip", "ifconfig", "route", "init", "httpd"] {
        tree.link(&format!("usr/sbin/{applet}"), "../bin/busybox");
    }
    Ok(tree)
}
