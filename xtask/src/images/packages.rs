//! Debian packages: which ones, in which versions, and their files. Nothing is installed.
//!
//! Read next: [`super::recipes`] (who asks for them).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// One package that can be downloaded.
struct Package {
    /// Name of the file, with the version in it.
    file: String,
    checksum: String,
}

/// Packages and the libraries they depend on.
pub(crate) struct Packages(Vec<Package>);

impl Packages {
    /// Finds these packages and, through their dependencies, every library but those `without` names.
    pub(crate) fn find(roots: &[&str], without: &[&str]) -> anyhow::Result<Self> {
        for (tool, package) in [("apt-get", "apt"), ("apt-cache", "apt"), ("dpkg-deb", "dpkg")] {
            if Command::new(tool).arg("--version").output().is_err() {
                bail!(
                    "{tool} is missing (package {package}): images are made from Debian's packages, so make \
                     them on a Debian machine, or pull the images from a registry instead"
                );
            }
        }
        match Self::look_up(roots, without) {
            Ok(packages) => Ok(packages),
            Err(_) => {
                run(Command::new("apt-get").args(["-q", "update"]))
                    .context("fetch Debian's package lists (this needs root and the network)")?;
                Self::look_up(roots, without)
            }
        }
    }

    fn look_up(roots: &[&str], without: &[&str]) -> anyhow::Result<Self> {
        let mut names: Vec<String> = roots.iter().map(|name| (*name).to_owned()).collect();
        let ignored = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
        let mut depends = Command::new("apt-cache");
        depends.args(["depends", "--recurse"]).args(ignored.map(|kind| format!("--no-{kind}"))).args(roots);
        for line in run(&mut depends)?.lines() {
            let library = (line.starts_with("lib") || line.starts_with("zlib"))
                && !without.iter().any(|prefix| line.starts_with(prefix));
            if library && !line.contains(':') && !names.iter().any(|name| name == line) {
                names.push(line.to_owned());
            }
        }
        let mut packages = Vec::new();
        for line in run(apt_get().args(["download", "--print-uris"]).args(&names))?.lines() {
            let mut words = line.split_whitespace().skip(1);
            if let (Some(file), Some(_), Some(checksum)) = (words.next(), words.next(), words.next()) {
                packages.push(Package { file: file.to_owned(), checksum: checksum.to_owned() });
            }
        }
        packages.sort_by(|one, other| one.file.cmp(&other.file));
        if packages.len() < roots.len() {
            bail!("apt knows no source for {}", roots.join(", "));
        }
        Ok(Self(packages))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What decides whether an image is still the right one.
    pub(crate) fn versions(&self) -> String {
        self.0.iter().map(|package| format!("{} {}\n", package.file, package.checksum)).collect()
    }

    /// Downloads them into `cache` where they are not there yet, and unpacks them into one directory.
    pub(crate) fn unpack(&self, cache: &Path, name: &str) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(cache).context("make the cache for packages")?;
        let missing: Vec<String> = self
            .0
            .iter()
            .filter(|package| !cache.join(&package.file).is_file())
            .filter_map(Package::specifier)
            .collect();
        if !missing.is_empty() {
            // apt checks every file against the signed lists before it gives it its name.
            run(apt_get().arg("download").args(&missing).current_dir(cache))
                .context("download packages (this needs the network)")?;
        }
        let root = cache.join(format!("{name}.unpacked"));
        if root.exists() {
            fs::remove_dir_all(&root).context("remove what an earlier run left")?;
        }
        fs::create_dir(&root).context("make the directory to unpack into")?;
        for package in &self.0 {
            run(Command::new("dpkg-deb").arg("-x").arg(cache.join(&package.file)).arg(&root))?;
        }
        Ok(root)
    }
}

impl Package {
    /// `name=version`, from `name_version_architecture.deb`.
    fn specifier(&self) -> Option<String> {
        let mut parts = self.file.split('_');
        let (name, version) = (parts.next()?, parts.next()?);
        Some(format!("{name}={}", version.replace("%3a", ":")))
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Its own user may not write where the cache is.
    command.args(["-q", "-o", "APT::Sandbox::User=root"]);
    command
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C.UTF-8").output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
