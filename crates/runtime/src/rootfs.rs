//! The seam between images and containers: what the native runtime needs of an unpacked image.
//!
//! The image store implements [`Layers`]; nothing here may know registries, archives or digests of blobs.
//!
//! Read next: `images` (who implements it), `native` (who asks).

use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

use crate::api::{ImageError, ImageId};

/// Unpacked images, ready to be mounted.
pub trait Layers: Send + Sync + 'static {
    /// The image's own configuration: entry point, environment, user, working directory, stop signal.
    fn image_config(&self, image: &ImageId) -> Result<ImageConfiguration, ImageError>;

    /// Directories of its unpacked layers in overlayfs form (whiteouts as 0:0 devices), lowest first.
    fn layer_dirs(&self, image: &ImageId) -> Result<Vec<PathBuf>, ImageError>;
}
