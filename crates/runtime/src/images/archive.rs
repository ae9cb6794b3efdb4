//! Archives: one tar file with an OCI image layout, or what `docker save` writes.
//!
//! The file is read once to learn where its members are, then each member where it stands: nothing is
//! unpacked but layers. Every digest that the archive names is verified.
//!
//! Read next: [`super::layer`] (what becomes of a layer), [`super::store`] (what becomes of the image).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;
use tar::EntryType;

use crate::api::ImageError;

use super::digest::Digest;
use super::documents::{self, Descriptor, Document, ImageIndex, Manifest};
use super::layer::Expected;
use super::limits::Limits;
use super::reference::Reference;
use super::tarball::Tarball;
use super::{failed, refused};

/// Most members of an archive: an image has at most 256 layers, and an archive few images.
const MEMBERS_MAX: usize = 65_536;

/// Indexes within indexes that are followed: `docker save` writes one within the other.
const INDEX_DEPTH_MAX: usize = 3;

/// Links from member to member that are followed: `docker save` once wrote one for a repeated layer.
const LINKS_MAX: usize = 8;

/// An image in an archive.
pub(super) struct Archived {
    /// Digest and bytes of the configuration.
    pub(super) config: (Digest, Vec<u8>),
    /// Manifests on the way to it.
    pub(super) documents: Vec<(Digest, Vec<u8>)>,
    /// Names the archive gives it.
    pub(super) names: Vec<Reference>,
    /// What the first of the documents is called.
    pub(super) digest: Option<Digest>,
    /// Its layers, with the members they are in.
    pub(super) layers: Vec<(Expected, String)>,
}

enum Member {
    Content { offset: u64, size: u64 },
    Link(String),
}

/// An archive, its members found.
pub(super) struct Archive {
    file: File,
    members: BTreeMap<String, Member>,
}

impl Archive {
    /// Opens a file and finds its members.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let open = |error| failed(&format!("open {}", path.display()), error);
        let file = File::open(path).map_err(open)?;
        let mut magic = [0; 2];
        if file.read_at(&mut magic, 0).map_err(open)? == 2 && magic == [0x1f, 0x8b] {
            return Err(refused(format!(
                "{} is compressed as a whole: run gunzip on it first",
                path.display()
            )));
        }
        let reader = BufReader::with_capacity(1 << 20, file.try_clone().map_err(open)?);
        let mut tarball = Tarball::new(reader);
        let mut members = BTreeMap::new();
        while let Some(entry) = tarball.entry()? {
            let Ok(name) = String::from_utf8(entry.path) else { continue };
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            let member = match entry.kind {
                EntryType::Regular => Member::Content { offset: tarball.position(), size: entry.size },
                EntryType::Symlink | EntryType::Link => {
                    let Ok(target) = String::from_utf8(entry.link) else { continue };
                    let from = if entry.kind == EntryType::Symlink { parent(&name) } else { "" };
                    Member::Link(resolve(from, &target)?)
                }
                EntryType::Directory => continue,
                _ => return Err(refused(format!("the archive's member {name:?} is not a file"))),
            };
            members.insert(name, member);
            if members.len() > MEMBERS_MAX {
                return Err(refused(format!("the archive has more than {MEMBERS_MAX} members")));
            }
        }
        Ok(Self { file, members })
    }

    /// What is in it.
    pub(super) fn images(&self, limits: &Limits) -> Result<Vec<Archived>, ImageError> {
        if self.members.contains_key("index.json") {
            let index = self.read("index.json", limits.document_bytes_max)?;
            let index: ImageIndex = documents::parse("index.json", &index)?;
            return index.manifests.iter().map(|descriptor| self.oci_image(descriptor, limits)).collect();
        }
        if self.members.contains_key("manifest.json") {
            let saved = self.read("manifest.json", limits.document_bytes_max)?;
            let saved: Vec<SavedImage> = documents::parse("manifest.json", &saved)?;
            return saved.iter().map(|saved| self.docker_image(saved, limits)).collect();
        }
        Err(refused("the archive has neither index.json nor manifest.json: it holds no image".to_owned()))
    }

    fn oci_image(&self, descriptor: &Descriptor, limits: &Limits) -> Result<Archived, ImageError> {
        let mut documents = Vec::new();
        let mut current = descriptor.clone();
        let manifest = loop {
            let bytes = self.blob("a manifest", &current, limits)?;
            let document = documents::read(&bytes)?;
            documents.push((current.digest.clone(), bytes));
            match document {
                Document::Manifest(manifest) => break manifest,
                Document::Index(_) if documents.len() >= INDEX_DEPTH_MAX => {
                    return Err(refused(format!(
                        "the archive has more than {INDEX_DEPTH_MAX} indexes in each other"
                    )));
                }
                Document::Index(index) => current = documents::choose(&index)?.clone(),
            }
        };
        let config = self.blob("the image's configuration", &manifest.config, limits)?;
        let (_, layers) = documents::read_config(Some(&manifest), &config, limits)?;
        let layers = layers.into_iter().zip(&manifest.layers);
        Ok(Archived {
            config: (manifest.config.digest.clone(), config),
            documents,
            names: names(descriptor)?,
            digest: Some(descriptor.digest.clone()),
            layers: layers.map(|(expected, layer)| (expected, blob_member(&layer.digest))).collect(),
        })
    }

    fn docker_image(&self, saved: &SavedImage, limits: &Limits) -> Result<Archived, ImageError> {
        let config = self.read(&saved.config, limits.document_bytes_max)?;
        let digest = Digest::of(&config);
        // The file is named after its digest; an archive that says otherwise is damaged.
        let stem = saved.config.rsplit('/').next().unwrap_or(&saved.config).trim_end_matches(".json");
        if stem != digest.hex() {
            return Err(refused(format!("the configuration {:?} has the digest {digest}", saved.config)));
        }
        let (_, layers) = documents::read_config(None::<&Manifest>, &config, limits)?;
        if layers.len() != saved.layers.len() {
            return Err(refused(format!(
                "manifest.json has {} layers and the configuration {}",
                saved.layers.len(),
                layers.len()
            )));
        }
        let names = saved.repo_tags.iter().flatten().map(|name| Reference::parse(name));
        Ok(Archived {
            config: (digest, config),
            documents: Vec::new(),
            names: names.collect::<Result<_, _>>()?,
            digest: None,
            layers: layers.into_iter().zip(saved.layers.iter().cloned()).collect(),
        })
    }

    fn blob(&self, what: &str, descriptor: &Descriptor, limits: &Limits) -> Result<Vec<u8>, ImageError> {
        let bytes = self.read(&blob_member(&descriptor.digest), limits.document_bytes_max)?;
        descriptor.digest.verify(what, &bytes)?;
        if bytes.len() as u64 != descriptor.size {
            return Err(refused(format!(
                "{what} should have {} bytes and has {}",
                descriptor.size,
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, ImageError> {
        let mut member = self.member(name)?;
        if member.left > bytes_max {
            return Err(refused(format!("the archive's member {name:?} is larger than {bytes_max} bytes")));
        }
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|error| failed("read the archive", error))?;
        Ok(bytes)
    }

    /// A member's content.
    pub(super) fn member(&self, name: &str) -> Result<Section<'_>, ImageError> {
        let mut name = name;
        for _ in 0..LINKS_MAX {
            match self.members.get(name) {
                None => return Err(refused(format!("the archive has no member {name:?}"))),
                Some(Member::Link(target)) => name = target,
                Some(Member::Content { offset, size }) => {
                    return Ok(Section { file: &self.file, offset: *offset, left: *size });
                }
            }
        }
        Err(refused(format!("the archive's member {name:?} is a link to links")))
    }
}

/// A part of a file.
pub(super) struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn blob_member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The names in the annotations: containerd's is full; the standard's may be only a tag, which names nothing.
fn names(descriptor: &Descriptor) -> Result<Vec<Reference>, ImageError> {
    if let Some(name) = descriptor.annotations.get("io.containerd.image.name") {
        return Ok(vec![Reference::parse(name)?]);
    }
    match descriptor.annotations.get("org.opencontainers.image.ref.name") {
        Some(name) if name.contains(['/', ':']) => Ok(vec![Reference::parse(name)?]),
        _ => Ok(Vec::new()),
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Where a link leads within the archive.
fn resolve(from: &str, target: &str) -> Result<String, ImageError> {
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    if target.starts_with('/') {
        return Err(refused(format!("the archive has a link to {target:?}")));
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => {
                return Err(refused(format!("the archive has a link to {target:?}")));
            }
            ".." => {}
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
