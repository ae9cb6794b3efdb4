//! PostgreSQL 15: Debian's server and client, behind an entry point of our own with the official image's
//! variables. No JIT: its compiler would be three quarters of the image.

use std::path::Path;

use super::super::rootfs::Rootfs;
use super::Recipe;

const ENTRYPOINT: &str = include_str!("postgres-entrypoint.sh");
const BINARIES: &str = "usr/lib/postgresql/15/bin";
const LIBRARIES: &str = "usr/lib/postgresql/15/lib";

pub(super) fn recipe() -> Recipe {
    Recipe {
        name: "postgres",
        tags: &["postgres:15", "postgres:15-alpine", "postgres:15-bookworm"],
        packages: &[
            "postgresql-15",
            "postgresql-client-15",
            "busybox-static",
            "bash",
            "util-linux",
            "libc6",
            "libc-bin",
            "tzdata",
        ],
        without: &[
            "libllvm",
            "libz3",
            "libperl",
            "libjson-perl",
            "libfile-",
            "libnumber-",
            "libtext",
            "libdebian",
        ],
        contents,
        scripts: &[ENTRYPOINT],
        entrypoint: &["docker-entrypoint.sh"],
        command: &["postgres"],
        environment: &[
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
            "LANG=C.UTF-8",
            "PG_MAJOR=15",
            "PGDATA=/var/lib/postgresql/data",
        ],
        directory: "/",
        port: Some("5432/tcp"),
        volume: Some("/var/lib/postgresql/data"),
        // Ends sessions and writes a checkpoint; SIGTERM would wait for every client to go.
        stop_signal: Some("SIGINT"),
    }
}

fn contents(root: &Path) -> anyhow::Result<Rootfs> {
    let mut tree = Rootfs::debian();
    tree.users(&[("postgres", 999, 999, "/var/lib/postgresql")]);
    tree.directory("var/lib/postgresql", 0o1777, (999, 999));
    tree.directory("var/lib/postgresql/data", 0o1777, (999, 999));
    tree.directory("run/postgresql", 0o3777, (999, 999));
    tree.directory("docker-entrypoint-initdb.d", 0o755, (0, 0));
    let is_kept =
        |path: &str| !path.contains("/bitcode/") && !path.contains("llvmjit") && !path.ends_with(".a");
    tree.copy_tree(root, BINARIES, &is_kept)?;
    tree.copy_tree(root, LIBRARIES, &is_kept)?;
    let is_read = |path: &str| !path.contains("/man/") && !path.ends_with(".sql.gz");
    tree.copy_tree(root, "usr/share/postgresql/15", &is_read)?;
    tree.copy_tree(root, "usr/lib/locale", &|_| true)?;
    tree.copy_tree(root, "usr/share/zoneinfo", &|path| {
        !path.contains("/right/") && !path.contains("/posix/")
    })?;
    for (from, to) in [
        ("bin/bash", "usr/bin/bash"),
        ("usr/bin/setpriv", "usr/bin/setpriv"),
        ("usr/bin/locale", "usr/bin/locale"),
    ] {
        tree.copy(root, from, to)?;
    }
    let linked = tree.nodes().map(|(path, _)| path).filter(|path| {
        (path.starts_with(BINARIES) || path.starts_with(LIBRARIES))
            && root.join(path).is_file()
            && is_binary(path)
    });
    let mut programs: Vec<String> = linked.cloned().collect();
    programs.extend(["bin/bash", "usr/bin/setpriv", "usr/bin/locale"].map(str::to_owned));
    tree.libraries(root, &programs)?;
    tree.busybox(root, "usr/bin")?;
    tree.file("usr/local/bin/docker-entrypoint.sh", 0o755, ENTRYPOINT);
    let sample = std::fs::read_to_string(root.join(SAMPLE))?;
    tree.file(SAMPLE, 0o644, &reachable(&sample));
    Ok(tree)
}

/// What `initdb` copies into each new database.
const SAMPLE: &str = "usr/share/postgresql/15/postgresql.conf.sample";

/// In a container everybody who is to be served comes from outside it.
fn reachable(sample: &str) -> String {
    let line = |line: &str| {
        if line.starts_with("#listen_addresses") {
            "listen_addresses = '*'".to_owned()
        } else {
            line.to_owned()
        }
    };
    sample.lines().map(|text| line(text) + "\n").collect()
}

/// Programs and modules; the rest beside them are lists and headers.
fn is_binary(path: &str) -> bool {
    path.ends_with(".so") || path.starts_with(BINARIES)
}
