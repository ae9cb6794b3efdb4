//! Makes layers, images and archives in memory, also such as no honest builder makes.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::images::Digest;
use crate::images::documents::architecture;

/// A layer's tar stream.
pub(super) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Regular, b"", content.as_bytes(), |_| {})
    }

    pub(super) fn directory(self, path: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Directory, b"", b"", |header| header.set_mode(0o755))
    }

    pub(super) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Symlink, target.as_bytes(), b"", |_| {})
    }

    pub(super) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Link, target.as_bytes(), b"", |_| {})
    }

    /// Any entry; names go into the header as they are, also where the `tar` crate would refuse them.
    pub(super) fn entry(
        mut self,
        path: &[u8],
        kind: EntryType,
        link: &[u8],
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// Extended records for the next entry.
    pub(super) fn records(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length += 1;
            }
            bytes.extend_from_slice(format!("{length} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.entry(b"records", EntryType::XHeader, b"", &bytes, |_| {})
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

/// An image: what a registry serves and an archive holds.
pub(super) struct Image {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    /// As they are stored.
    pub(super) layers: Vec<Vec<u8>>,
}

impl Image {
    /// Of these layers: as stored, and the tar stream in it.
    pub(super) fn new(layers: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|(_, plain)| Digest::of(plain)).collect();
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap();
        let layers: Vec<Vec<u8>> = layers.into_iter().map(|(stored, _)| stored).collect();
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers.iter().map(|layer| descriptor(kind, layer)).collect::<Vec<_>>(),
        }))
        .unwrap();
        Self { config, manifest, layers }
    }

    /// Of one layer, compressed with gzip.
    pub(super) fn of(layer: Layer) -> Self {
        let plain = layer.bytes();
        Self::new(vec![(gzip(&plain), plain)])
    }

    pub(super) fn id(&self) -> String {
        Digest::of(&self.config).to_string()
    }

    /// Its blobs by digest.
    pub(super) fn blobs(&self) -> Vec<(Digest, Vec<u8>)> {
        let all = self.layers.iter().chain([&self.config, &self.manifest]);
        all.map(|bytes| (Digest::of(bytes), bytes.clone())).collect()
    }

    /// Members of an OCI archive under this name.
    pub(super) fn members(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let mut manifest = descriptor("application/vnd.oci.image.manifest.v1+json", &self.manifest);
        manifest["annotations"] = json!({"io.containerd.image.name": name});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        let mut members = vec![
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), serde_json::to_vec(&index).unwrap()),
        ];
        let blobs = self.blobs().into_iter();
        members.extend(blobs.map(|(digest, bytes)| (format!("blobs/sha256/{}", digest.hex()), bytes)));
        members
    }
}

pub(super) fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// Writes an archive with these members.
pub(super) fn archive(dir: &Path, members: &[(String, Vec<u8>)]) -> PathBuf {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    let path = dir.join(format!("archive-{}.tar", members.len()));
    std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
    path
}
