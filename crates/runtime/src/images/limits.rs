//! How much an image may be: what stands between an archive of a few bytes and a full disk.
//!
//! Read next: [`super::layer`] (which holds content against these).

/// Bounds on what one image may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a layer, unpacked. The largest images in use (machine learning) have layers near 10 GiB.
    pub layer_bytes_max: u64,
    /// Most bytes of an image, unpacked.
    pub image_bytes_max: u64,
    /// Most entries of a layer. A full distribution has about 200,000 files.
    pub layer_entries_max: u64,
    /// Most layers of an image; the kernel's overlayfs takes 500, of which a few are ours.
    pub layers_max: usize,
    /// Most bytes that one compressed byte may become, once a layer is over
    /// [`Limits::ratio_free_bytes`]. Ordinary layers reach 10; gzip can at most 1,032.
    pub ratio_max: u64,
    /// Below this many unpacked bytes the ratio is not looked at: a small file of zeros is harmless.
    pub ratio_free_bytes: u64,
    /// Most bytes of a manifest, an index or a configuration; registries refuse manifests over 4 MiB too.
    pub document_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer_bytes_max: 16 << 30,
            image_bytes_max: 48 << 30,
            layer_entries_max: 2_000_000,
            layers_max: 256,
            ratio_max: 200,
            ratio_free_bytes: 256 << 20,
            document_bytes_max: 4 << 20,
        }
    }
}
