//! Redis: Debian's server and tools, behind an entry point that behaves like the official image's.

use std::path::Path;

use super::super::rootfs::Rootfs;
use super::Recipe;

const ENTRYPOINT: &str = include_str!("redis-entrypoint.sh");
const SERVER: &str = include_str!("redis-server.sh");

pub(super) fn recipe() -> Recipe {
    Recipe {
        name: "redis",
        tags: &["redis:alpine", "redis:latest", "redis:7", "redis:7-alpine", "redis:7.0", "redis:7.0-alpine"],
        packages: &["redis-server", "redis-tools", "busybox-static", "util-linux", "libc6"],
        without: &["libperl", "libfile-", "libnumber-", "libtext", "libpam", "libdebian", "libnewt"],
        contents,
        scripts: &[ENTRYPOINT, SERVER],
        entrypoint: &["docker-entrypoint.sh"],
        command: &["redis-server"],
        environment: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        directory: "/data",
        port: Some("6379/tcp"),
        volume: Some("/data"),
        stop_signal: None,
    }
}

fn contents(root: &Path) -> anyhow::Result<Rootfs> {
    let mut tree = Rootfs::debian();
    tree.users(&[("redis", 999, 1000, "/data")]);
    tree.directory("data", 0o755, (999, 1000));
    tree.copy(root, "usr/bin/redis-server", "usr/lib/redis/redis-server")?;
    for tool in ["redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb", "setpriv"] {
        tree.copy(root, &format!("usr/bin/{tool}"), &format!("usr/bin/{tool}"))?;
    }
    tree.link("usr/local/bin/redis-sentinel", "redis-server");
    tree.file("usr/local/bin/redis-server", 0o755, SERVER);
    tree.file("usr/local/bin/docker-entrypoint.sh", 0o755, ENTRYPOINT);
    let programs =
        ["redis-server", "redis-cli", "redis-benchmark", "setpriv"].map(|name| format!("usr/bin/{name}"));
    tree.libraries(root, &programs)?;
    tree.busybox(root, "usr/bin")?;
    Ok(tree)
}
