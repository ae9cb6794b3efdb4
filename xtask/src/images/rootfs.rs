//! The file tree of an image while it is put together: names and contents, sorted, with nothing of this
//! machine's times or owners.
//!
//! Read next: [`super::recipes`] (who fills it), [`super::archive`] (who writes it).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::packages::run;

/// Something in the tree.
pub(crate) enum Node {
    Directory { mode: u32, owner: (u64, u64) },
    File { mode: u32, content: Vec<u8> },
    Link(String),
}

/// The tree, by paths without a leading slash.
pub(crate) struct Rootfs(BTreeMap<String, Node>);

/// Where the loader looks for libraries, and the loader, on this machine's architecture.
struct Machine {
    libraries: &'static str,
    loader: &'static str,
}

fn machine() -> anyhow::Result<Machine> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Machine { libraries: "x86_64-linux-gnu", loader: "lib64/ld-linux-x86-64.so.2" }),
        "aarch64" => Ok(Machine { libraries: "aarch64-linux-gnu", loader: "lib/ld-linux-aarch64.so.1" }),
        other => bail!("images cannot be made for {other} yet: only for x86_64 and aarch64"),
    }
}

impl Rootfs {
    /// The directories that every system has, with Debian's links from `/bin` and the like into `/usr`.
    pub(crate) fn debian() -> Self {
        let mut tree = Self(BTreeMap::new());
        for name in ["bin", "sbin", "lib", "lib64"] {
            tree.directory(&format!("usr/{name}"), 0o755, (0, 0));
            tree.0.insert(name.to_owned(), Node::Link(format!("usr/{name}")));
        }
        for name in ["dev", "proc", "sys", "run", "home", "var/log", "var/lib", "var/cache"] {
            tree.directory(name, 0o755, (0, 0));
        }
        tree.directory("root", 0o700, (0, 0));
        tree.directory("tmp", 0o1777, (0, 0));
        tree.directory("var/tmp", 0o1777, (0, 0));
        tree.link("var/run", "/run");
        tree.file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n");
        tree
    }

    /// `/etc/passwd` and `/etc/group` with root, nobody and these: name, user, group, home.
    pub(crate) fn users(&mut self, users: &[(&str, u32, u32, &str)]) {
        let mut passwd = "root:x:0:0:root:/root:/bin/sh\n".to_owned();
        let mut group = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n".to_owned();
        for (name, user, own_group, home) in users {
            passwd += &format!("{name}:x:{user}:{own_group}:{name}:{home}:/bin/sh\n");
            group += &format!("{name}:x:{own_group}:\n");
        }
        passwd += "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
        self.file("etc/passwd", 0o644, &passwd);
        self.file("etc/group", 0o644, &group);
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.0.iter()
    }

    pub(crate) fn directory(&mut self, path: &str, mode: u32, owner: (u64, u64)) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::Directory { mode, owner });
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &str) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::File { mode, content: content.as_bytes().to_vec() });
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.0.insert(path.to_owned(), Node::Link(target.to_owned()));
    }

    fn parents(&mut self, path: &str) {
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            end += slash;
            let parent = || Node::Directory { mode: 0o755, owner: (0, 0) };
            self.0.entry(path[..end].to_owned()).or_insert_with(parent);
            end += 1;
        }
    }

    /// Copies what a path leads to, links followed within `root`.
    pub(crate) fn copy(&mut self, root: &Path, from: &str, to: &str) -> anyhow::Result<()> {
        let source = follow(root, from)?;
        let content = fs::read(&source).with_context(|| format!("read {}", source.display()))?;
        let mode = fs::metadata(&source)?.permissions().mode() & 0o777;
        self.parents(to);
        self.0.insert(to.to_owned(), Node::File { mode, content });
        Ok(())
    }

    /// Copies a directory with everything in it that `wanted` wants; links stay links.
    pub(crate) fn copy_tree(
        &mut self,
        root: &Path,
        directory: &str,
        wanted: &dyn Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let here = root.join(directory);
        for entry in fs::read_dir(&here).with_context(|| format!("read {}", here.display()))? {
            let entry = entry?;
            let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.copy_tree(root, &path, wanted)?;
            } else if kind.is_symlink() && wanted(&path) {
                let target = fs::read_link(entry.path())?;
                self.link(&path, &target.to_string_lossy());
            } else if kind.is_file() && wanted(&path) {
                self.copy(root, &path, &path)?;
            }
        }
        Ok(())
    }

    /// Copies the libraries that the loader finds for these programs and libraries, and the loader itself.
    pub(crate) fn libraries(&mut self, root: &Path, programs: &[String]) -> anyhow::Result<()> {
        let machine = machine()?;
        let loader = follow(root, machine.loader)?;
        let directories = ["lib", "usr/lib"].map(|lib| root.join(lib).join(machine.libraries));
        let search = directories.each_ref().map(|path| path.display().to_string()).join(":");
        let mut found: BTreeSet<PathBuf> = BTreeSet::new();
        for program in programs {
            let path = follow(root, program)?;
            let listed = run(Command::new(&loader).args(["--library-path", &search, "--list"]).arg(&path))
                .with_context(|| format!("find the libraries of {program}"))?;
            for line in listed.lines() {
                let Some((name, rest)) = line.trim().split_once(" => ") else { continue };
                let library = rest.split(" (").next().unwrap_or(rest);
                if !library.starts_with(&root.display().to_string()) {
                    bail!("{program} needs {name}, which is in none of the packages");
                }
                found.insert(PathBuf::from(library));
            }
        }
        for library in found {
            let relative = library.strip_prefix(root).context("it was looked for there")?;
            let relative = relative.to_string_lossy().into_owned();
            let name = library.file_name().context("a library has a name")?.to_string_lossy().into_owned();
            self.copy(root, &relative, &format!("usr/lib/{}/{name}", machine.libraries))?;
        }
        self.copy(root, machine.loader, &format!("usr/{}", machine.loader))
    }

    /// Adds busybox with a link for each of its applets whose name is still free in `directory`.
    pub(crate) fn busybox(&mut self, root: &Path, directory: &str) -> anyhow::Result<()> {
        let binary = follow(root, "bin/busybox").or_else(|_| follow(root, "usr/bin/busybox"))?;
        let applets = run(Command::new(&binary).arg("--list"))?;
        let relative = binary.strip_prefix(root)?.to_string_lossy().into_owned();
        self.copy(root, &relative, &format!("{directory}/busybox"))?;
        for applet in applets.lines().filter(|applet| !applet.is_empty()) {
            let path = format!("{directory}/{applet}");
            if !self.0.contains_key(&path) {
                self.link(&path, "busybox");
            }
        }
        Ok(())
    }
}

/// Where a path leads when `root` is the root: packages link by absolute paths too.
fn follow(root: &Path, path: &str) -> anyhow::Result<PathBuf> {
    let mut current = PathBuf::from(path);
    // As many links as the kernel follows.
    for _ in 0..40 {
        let full = root.join(&current);
        let metadata =
            fs::symlink_metadata(&full).with_context(|| format!("{path} is in none of the packages"))?;
        if !metadata.is_symlink() {
            return Ok(full);
        }
        let target = fs::read_link(&full)?;
        current = match target.strip_prefix("/") {
            Ok(absolute) => absolute.to_owned(),
            Err(_) => current.parent().unwrap_or(Path::new("")).join(target),
        };
    }
    bail!("{path} is a link to links")
}
