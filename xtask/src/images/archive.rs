//! Writing an image as an OCI archive: one uncompressed layer, so that importing it costs one copy.
//!
//! Read next: [`super::recipes`] (what an image says of itself).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::recipes::Recipe;
use super::rootfs::{Node, Rootfs};

/// The time of every file and of the image, so that equal packages give equal bytes: 2024-01-01.
const TIME: u64 = 1_704_067_200;
const TIME_TEXT: &str = "2024-01-01T00:00:00Z";

/// Writes the archive under its final name only when it is complete.
pub(crate) fn write(path: &Path, recipe: &Recipe, tree: &Rootfs) -> anyhow::Result<()> {
    let layer = layer(tree)?;
    let layer_digest = digest(&layer);
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let config = serde_json::to_vec(&json!({
        "created": TIME_TEXT,
        "architecture": architecture,
        "os": "linux",
        "config": recipe.config(),
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": TIME_TEXT, "created_by": "cargo xtask images"}],
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let named = recipe.tags.iter().map(|tag| {
        let mut named = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        named["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{tag}"),
            "org.opencontainers.image.ref.name": tag.split_once(':').map_or("latest", |(_, tag)| tag),
        });
        named
    });
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": named.collect::<Vec<Value>>(),
    }))?;
    let unfinished = path.with_extension("unfinished");
    let file = File::create(&unfinished).with_context(|| format!("make {}", unfinished.display()))?;
    let mut archive = Builder::new(BufWriter::new(file));
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut archive, "index.json", &index)?;
    for blob in [&manifest, &config, &layer] {
        let name = format!("blobs/sha256/{}", digest(blob).trim_start_matches("sha256:"));
        add(&mut archive, &name, blob)?;
    }
    archive.into_inner()?.flush()?;
    fs::rename(&unfinished, path).with_context(|| format!("write {}", path.display()))
}

fn layer(tree: &Rootfs) -> anyhow::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    for (path, node) in tree.nodes() {
        let mut header = Header::new_gnu();
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match node {
            Node::Directory { mode, owner } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                header.set_uid(owner.0);
                header.set_gid(owner.1);
                archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Node::File { mode, content } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path, content.as_slice())?;
            }
            Node::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                archive.append_link(&mut header, path, target)?;
            }
        }
    }
    Ok(archive.into_inner()?)
}

fn add(archive: &mut Builder<impl Write>, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(TIME);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    Ok(archive.append_data(&mut header, name, content)?)
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
