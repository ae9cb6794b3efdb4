//! Manifests, indexes and configurations: the parts of them that matter here, of OCI and of Docker's
//! schema 2.
//!
//! Read next: [`super::archive`] and [`super::pull`] (where they come from).

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use crate::api::ImageError;

use super::digest::Digest;
use super::layer::Expected;
use super::limits::Limits;
use super::refused;

/// Names some content.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) platform: Option<Platform>,
}

/// What an image runs on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Platform {
    pub(super) os: String,
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: String,
}

/// Of several platforms.
#[derive(Debug, Deserialize)]
pub(super) struct ImageIndex {
    pub(super) manifests: Vec<Descriptor>,
}

/// Of one platform.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// What a document turned out to be.
pub(super) enum Document {
    /// Several platforms.
    Index(ImageIndex),
    /// One.
    Manifest(Manifest),
}

/// Media types of indexes; manifests of other kinds (charts, signatures) have a config of another type.
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// Media types of manifests.
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// What a registry is asked for, in this order.
pub(super) fn accepted() -> String {
    [INDEX_TYPES, MANIFEST_TYPES].concat().join(", ")
}

/// Reads a manifest or an index.
pub(super) fn read(bytes: &[u8]) -> Result<Document, ImageError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        #[serde(default)]
        media_type: String,
        #[serde(default)]
        schema_version: u32,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = parse("the manifest", bytes)?;
    if kind.schema_version == 1 {
        return Err(refused("the manifest is of Docker's schema 1, which is no longer in use".to_owned()));
    }
    match (kind.manifests.is_some(), kind.config.is_some()) {
        (true, false) => Ok(Document::Index(parse("the index", bytes)?)),
        (false, true) => Ok(Document::Manifest(parse("the manifest", bytes)?)),
        _ => Err(refused(format!("a document of the type {:?} is no manifest", kind.media_type))),
    }
}

/// Reads a configuration and tells what each layer must be.
pub(super) fn read_config(
    manifest: Option<&Manifest>,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(ImageConfiguration, Vec<Expected>), ImageError> {
    let config: ImageConfiguration = parse("the image's configuration", bytes)?;
    let diff_ids: Vec<Digest> =
        config.rootfs().diff_ids().iter().map(|text| Digest::parse(text)).collect::<Result<_, _>>()?;
    if diff_ids.len() > limits.layers_max {
        return Err(refused(format!("the image has more than {} layers", limits.layers_max)));
    }
    let Some(manifest) = manifest else {
        let layers = diff_ids.into_iter().map(|diff_id| Expected { blob: None, diff_id }).collect();
        return Ok((config, layers));
    };
    if manifest.layers.len() != diff_ids.len() {
        return Err(refused(format!(
            "the manifest has {} layers and the configuration {}",
            manifest.layers.len(),
            diff_ids.len()
        )));
    }
    if let Some(other) = manifest.layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        return Err(refused(format!("{:?} is not the type of an image's layer", other.media_type)));
    }
    let layers = manifest.layers.iter().zip(diff_ids);
    let layers = layers
        .map(|(layer, diff_id)| Expected { blob: Some((layer.digest.clone(), layer.size)), diff_id })
        .collect();
    Ok((config, layers))
}

/// Reads JSON.
pub(super) fn parse<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| refused(format!("{what} cannot be read: {error}")))
}

fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// The one for this machine. Entries without a platform serve where no other does.
pub(super) fn choose(index: &ImageIndex) -> Result<&Descriptor, ImageError> {
    let candidates = || {
        index.manifests.iter().filter(|descriptor| {
            let media_type = descriptor.media_type.as_str();
            media_type.is_empty() || MANIFEST_TYPES.contains(&media_type) || INDEX_TYPES.contains(&media_type)
        })
    };
    let suits = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(is_ours);
    let ours = candidates().find(suits);
    ours.or_else(|| candidates().find(|descriptor| descriptor.platform.is_none())).ok_or_else(|| {
        let offered: Vec<String> = candidates()
            .filter_map(|descriptor| descriptor.platform.as_ref())
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect();
        refused(format!("the image is not for linux/{}, only for {}", architecture(), offered.join(", ")))
    })
}

fn is_ours(platform: &Platform) -> bool {
    let variant_suits = match platform.architecture.as_str() {
        // Every ARMv7 machine runs v6 and v7 programs; v8 is 64 bits.
        "arm" => matches!(platform.variant.as_str(), "" | "v6" | "v7"),
        // Later variants of amd64 need a newer processor than every machine has.
        "amd64" => matches!(platform.variant.as_str(), "" | "v1"),
        _ => true,
    };
    platform.os == "linux" && platform.architecture == architecture() && variant_suits
}

/// This machine's, as Go spells it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    }
}
