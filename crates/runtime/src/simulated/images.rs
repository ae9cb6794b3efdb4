//! Images that exist because somebody asks for them, unless their pull was told to fail.
//!
//! An image's id is `sha256:` and the hexadecimal digits of its name, so that a container's configuration,
//! which holds only the id, still says what the container shall do.
//!
//! Read next: `script.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::api::{Image, ImageError, ImageId, Images, RegistryAuth};

/// The images of a simulated node. Cloning shares them.
#[derive(Clone, Default)]
pub struct SimulatedImages {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    present: BTreeMap<String, Image>,
    failures: HashMap<String, (String, u32)>,
}

impl SimulatedImages {
    /// No images yet.
    pub fn new() -> SimulatedImages {
        SimulatedImages::default()
    }

    /// Makes the next `times` pulls of a reference fail.
    pub fn fail_pulls(&self, reference: &str, reason: &str, times: u32) {
        self.state().failures.insert(qualified(reference), (reason.to_owned(), times));
    }

    /// Puts an image there without a pull.
    pub fn add(&self, reference: &str) -> Image {
        let reference = qualified(reference);
        let id = id_of(&reference);
        let repository = reference.split([':', '@']).next().unwrap_or(&reference).to_owned();
        let digests = vec![format!("{repository}@{}", id.0)];
        let image = Image { id, tags: vec![reference.clone()], digests, size_bytes: 1024, imported: false };
        self.state().present.insert(reference, image.clone());
        image
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// The full name, as a pull would resolve it.
fn qualified(reference: &str) -> String {
    let first = reference.split('/').next().unwrap_or("");
    let host = reference.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let mut name = match (host, reference.contains('/')) {
        (true, _) => reference.to_owned(),
        (false, true) => format!("docker.io/{reference}"),
        (false, false) => format!("docker.io/library/{reference}"),
    };
    let last = name.rsplit('/').next().unwrap_or("");
    if !last.contains([':', '@']) {
        name.push_str(":latest");
    }
    name
}

fn id_of(reference: &str) -> ImageId {
    let digits: String = reference.bytes().map(|byte| format!("{byte:02x}")).collect();
    ImageId(format!("sha256:{digits}"))
}

/// The name that an id was made of.
pub(crate) fn reference_of(id: &ImageId) -> Option<String> {
    let digits = id.0.strip_prefix("sha256:")?;
    let byte = |index: usize| u8::from_str_radix(digits.get(index..index + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

#[async_trait]
impl Images for SimulatedImages {
    async fn image(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        Ok(self.state().present.get(&qualified(reference)).cloned())
    }

    async fn pull(&self, reference: &str, _: Option<RegistryAuth>) -> Result<Image, ImageError> {
        let name = qualified(reference);
        let failure = {
            let mut state = self.state();
            let failing = state.failures.get_mut(&name).filter(|(_, times)| *times > 0);
            failing.map(|(reason, times)| {
                *times -= 1;
                reason.clone()
            })
        };
        match failure {
            Some(reason) => Err(ImageError::Pull { reference: name, reason }),
            None if name.contains("/sim/missing:") => {
                Err(ImageError::Pull { reference: name, reason: "not found".to_owned() })
            }
            None => Ok(self.add(reference)),
        }
    }

    async fn list(&self) -> Result<Vec<Image>, ImageError> {
        Ok(self.state().present.values().cloned().collect())
    }

    async fn import(&self, archive: PathBuf) -> Result<Vec<Image>, ImageError> {
        let reason = format!("{} cannot be imported into a simulated node", archive.display());
        Err(ImageError::Refused { reason })
    }

    async fn remove(&self, id: &ImageId) -> Result<(), ImageError> {
        self.state().present.retain(|_, image| image.id != *id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_name() {
        assert_eq!(qualified("redis"), "docker.io/library/redis:latest");
        assert_eq!(qualified("sim/crash:3s"), "docker.io/sim/crash:3s");
        assert_eq!(qualified("localhost/a"), "localhost/a:latest");
        assert_eq!(reference_of(&id_of("docker.io/sim/crash:3s")).unwrap(), "docker.io/sim/crash:3s");
        assert_eq!(reference_of(&ImageId("sha256:zz".to_owned())), None);
    }
}
