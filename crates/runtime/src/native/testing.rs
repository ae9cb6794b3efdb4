//! Values for this module's unit tests.

use std::collections::BTreeMap;

use crate::api::{ContainerConfig, ImageId, Resources, Security};

/// A container that says nothing special.
pub(crate) fn container() -> ContainerConfig {
    ContainerConfig {
        name: "main".to_owned(),
        attempt: 0,
        image: ImageId("sha256:0".to_owned()),
        command: Vec::new(),
        args: Vec::new(),
        working_dir: None,
        env: Vec::new(),
        mounts: Vec::new(),
        stdin: false,
        stdin_once: false,
        tty: false,
        resources: Resources::default(),
        security: Security::default(),
        log_path: "/nowhere".into(),
        stop_signal: None,
        labels: BTreeMap::new(),
    }
}
