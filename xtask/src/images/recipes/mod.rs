//! What each image holds and how it says to be run.
//!
//! Read next: [`busybox`], [`redis`], [`postgres`].

mod busybox;
mod postgres;
mod redis;

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::rootfs::Rootfs;

/// Changes whenever the way images are put together does, so that archives are made again.
const REVISION: &str = "1";

/// One image.
pub(crate) struct Recipe {
    /// Name of the archive.
    pub(crate) name: &'static str,
    /// Its names, in Docker's own repository.
    pub(crate) tags: &'static [&'static str],
    /// Packages it is made from; libraries follow by their dependencies.
    pub(crate) packages: &'static [&'static str],
    /// Libraries among the dependencies that it does not need, by the beginning of their names.
    pub(crate) without: &'static [&'static str],
    /// Puts the tree together from the unpacked packages.
    pub(crate) contents: fn(&Path) -> anyhow::Result<Rootfs>,
    /// Scripts that go into it, so that a change in them makes it anew.
    pub(crate) scripts: &'static [&'static str],
    /// What it runs.
    pub(crate) entrypoint: &'static [&'static str],
    /// Arguments where the user gives none.
    pub(crate) command: &'static [&'static str],
    /// Environment.
    pub(crate) environment: &'static [&'static str],
    /// Where it runs.
    pub(crate) directory: &'static str,
    /// Port it serves.
    pub(crate) port: Option<&'static str>,
    /// Directory with its data.
    pub(crate) volume: Option<&'static str>,
    /// Signal that ends it in order.
    pub(crate) stop_signal: Option<&'static str>,
}

/// All of them.
pub(crate) fn all() -> [Recipe; 3] {
    [busybox::recipe(), redis::recipe(), postgres::recipe()]
}

impl Recipe {
    /// The image's own configuration.
    pub(crate) fn config(&self) -> Value {
        let mut config = json!({"Env": self.environment, "Cmd": self.command, "WorkingDir": self.directory});
        if !self.entrypoint.is_empty() {
            config["Entrypoint"] = json!(self.entrypoint);
        }
        if let Some(port) = self.port {
            config["ExposedPorts"] = json!({port: {}});
        }
        if let Some(volume) = self.volume {
            config["Volumes"] = json!({volume: {}});
        }
        if let Some(signal) = self.stop_signal {
            config["StopSignal"] = json!(signal);
        }
        config
    }

    /// Everything in the recipe that decides what the image is, beside the packages.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new_with_prefix(REVISION);
        hasher.update(self.config().to_string());
        hasher.update(self.tags.join(" "));
        hasher.update(self.scripts.concat());
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
