//! Tests of the image store, on archives and registries made in memory.
//!
//! Read next: [`import`], [`safety`], [`layers`], [`registry`].

mod build;
mod import;
mod layers;
mod registry;
mod safety;
mod server;

use std::path::Path;

use super::{Limits, Store, StoreOptions};

fn open(dir: &Path) -> Store {
    Store::open(dir, StoreOptions::default()).unwrap()
}

fn open_with(dir: &Path, limits: Limits) -> Store {
    Store::open(dir, StoreOptions { limits, ..StoreOptions::default() }).unwrap()
}

/// Names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Nothing but the store's own empty directories is there.
fn assert_empty(dir: &Path) {
    assert_eq!(names(&dir.join("layers")), Vec::<String>::new());
    assert_eq!(names(&dir.join("blobs/sha256")), Vec::<String>::new());
    for session in names(&dir.join("temp")) {
        assert_eq!(names(&dir.join("temp").join(session)), Vec::<String>::new());
    }
    assert!(!dir.join("images.json").exists());
}
