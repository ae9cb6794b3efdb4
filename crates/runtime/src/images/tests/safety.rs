//! Archives that are damaged or mean harm: refused, with nothing left behind and nothing written outside.

use std::path::Path;

use tar::EntryType;

use super::build::{self, Image, Layer, gzip, zstandard};
use super::{assert_empty, open_with};
use crate::api::{ImageError, Images};
use crate::images::{Digest, Limits};

/// Imports and expects a refusal that says this; nothing may be left, in the store or beside it.
async fn refused_with(image: &Image, limits: Limits, said: &str) {
    refused_members(&image.members("x"), limits, said).await;
}

async fn refused_members(members: &[(String, Vec<u8>)], limits: Limits, said: &str) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let archive = build::archive(dir.path(), members);
    let store = open_with(&root, limits);

    let error = store.import(archive.clone()).await.unwrap_err();

    assert!(matches!(error, ImageError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(said), "{error}\nshould say {said:?}");
    assert_empty(&root);
    let beside = super::names(dir.path());
    assert_eq!(beside, [archive.file_name().unwrap().to_str().unwrap(), "store"]);
}

async fn refused(layer: Layer, said: &str) {
    refused_with(&Image::of(layer), Limits::default(), said).await;
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let entry = |path: &[u8]| Layer::new().entry(path, EntryType::Regular, b"", b"x", |_| {});
    refused(entry(b"../x"), "leads out").await;
    refused(entry(b"a/../../x"), "leads out").await;
    refused(entry(b"/etc/x"), "absolute").await;
    refused(Layer::new().records(&[("path", b"../../x")]).file("x", "x"), "leads out").await;
    refused(Layer::new().records(&[("path", b"a\0b")]).file("x", "x"), "zero byte").await;
    refused(Layer::new().file("a/.wh...", ""), "hides no name").await;
    refused(Layer::new().file("a/.wh.", ""), "hides no name").await;
}

#[tokio::test]
async fn symbolic_links_that_lead_out_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for link in [target, "..", "../..", "/", "/proc/self/root"] {
        refused(Layer::new().symlink("a", link).file("a/x", "x"), "leads out").await;
        refused(Layer::new().symlink("a", link).directory("a/x/"), "leads out").await;
        refused(Layer::new().symlink("a", link).symlink("a/x", "y"), "leads out").await;
        refused(Layer::new().symlink("a", link).file("a/.wh.x", ""), "leads out").await;
        refused(Layer::new().symlink("a", link).file("a/.wh..wh..opq", ""), "leads out").await;
    }
    let chain = Layer::new().directory("d/").symlink("d/up", "..").symlink("a", "d/up/..").file("a/x", "x");
    refused(chain, "leads out").await;
    assert_eq!(super::names(outside.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_over_a_symbolic_link_replaces_the_link_not_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    std::fs::write(&target, "untouched").unwrap();
    let layer = Layer::new().symlink("a", target.to_str().unwrap()).file("a", "mine");
    let store = open_with(&dir.path().join("store"), Limits::default());

    store.import(build::archive(dir.path(), &Image::of(layer).members("x"))).await.unwrap();

    assert_eq!(std::fs::read_to_string(&target).unwrap(), "untouched");
}

#[tokio::test]
async fn hard_links_that_lead_out_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let directory = outside.path().to_str().unwrap();
    let link = |target: &str| Layer::new().hard_link("x", target);
    refused(link("/etc/passwd"), "absolute").await;
    refused(link("../../../../etc/passwd"), "leads out").await;
    refused(link("nothing"), "not there").await;
    refused(Layer::new().symlink("a", directory).hard_link("x", "a/secret"), "leads out").await;
    refused(Layer::new().directory("d/").hard_link("x", "d"), "other than a file").await;
    refused(Layer::new().file("d/.wh.w", "").hard_link("x", "d/w"), "other than a file").await;
}

#[tokio::test]
async fn device_nodes_and_unknown_kinds_are_refused() {
    for kind in [EntryType::Char, EntryType::Block] {
        let layer = Layer::new().entry(b"dev/sda", kind, b"", b"", |header| {
            header.set_device_major(8).unwrap();
            header.set_device_minor(0).unwrap();
        });
        refused(layer, "device node").await;
    }
    refused(Layer::new().entry(b"x", EntryType::new(b'Z'), b"", b"", |_| {}), "unknown kind").await;
}

#[tokio::test]
async fn attributes_that_steer_overlayfs_are_refused() {
    let record: &[(&str, &[u8])] = &[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")];
    refused(Layer::new().records(record).directory("d/"), "has the attribute").await;
}

#[tokio::test]
async fn names_that_are_too_long_or_too_deep_are_refused() {
    let name = "n".repeat(256);
    refused(Layer::new().records(&[("path", name.as_bytes())]).file("x", ""), "longer than 255").await;
    let path = "n/".repeat(2100);
    refused(Layer::new().records(&[("path", path.as_bytes())]).file("x", ""), "longer than 4096").await;
    let deep = "n/".repeat(300);
    refused(Layer::new().records(&[("path", deep.as_bytes())]).directory("x"), "deeper than").await;
    let long = vec![b'n'; 2 << 20];
    let layer = Layer::new().entry(b"long", EntryType::GNULongName, b"", &long, |_| {});
    refused(layer.file("x", ""), "extended header").await;
}

#[tokio::test]
async fn a_directory_that_becomes_something_else_is_refused() {
    refused(Layer::new().file("d/x", "").symlink("d", "/etc"), "replaced within").await;
    refused(Layer::new().file("d/x", "").file("d", ""), "replaced within").await;
    refused(Layer::new().file("f", "").file("f/x", ""), "through a file").await;
}

#[tokio::test]
async fn bombs_are_stopped_by_size_ratio_and_number() {
    let zeros = Layer::new().file("zeros", &"\0".repeat(4 << 20)).bytes();
    let small = Limits { layer_bytes_max: 1 << 20, ..Limits::default() };
    let steep = Limits { ratio_free_bytes: 1 << 20, ratio_max: 50, ..Limits::default() };
    for stored in [gzip(&zeros), zstandard(&zeros)] {
        let image = Image::new(vec![(stored, zeros.clone())]);
        refused_with(&image, small, "more than 1048576 bytes").await;
        refused_with(&image, steep, "more than 50 times").await;
    }
    let many = Layer::new().file("1", "").file("2", "").file("3", "");
    let few = Limits { layer_entries_max: 2, ..Limits::default() };
    refused_with(&Image::of(many), few, "more than 2 entries").await;
    let empty = Layer::new().bytes();
    let layered = Image::new(vec![(empty.clone(), empty.clone()); 3]);
    refused_with(&layered, Limits { layers_max: 2, ..Limits::default() }, "more than 2 layers").await;
    let large = Image::of(Layer::new().file("x", "0123456789"));
    refused_with(&large, Limits { document_bytes_max: 100, ..Limits::default() }, "larger than 100").await;
}

#[tokio::test]
async fn zeros_after_the_end_of_a_layer_count_too() {
    let mut layer = Layer::new().file("x", "").bytes();
    layer.resize(4 << 20, 0);
    let image = Image::new(vec![(gzip(&layer), layer)]);
    let small = Limits { layer_bytes_max: 1 << 20, ..Limits::default() };
    refused_with(&image, small, "more than 1048576 bytes").await;
}

#[tokio::test]
async fn content_with_another_digest_is_refused() {
    let image = Image::of(Layer::new().file("a", "a"));
    let members = image.members("x");
    let changed = |digest: &Digest, change: &dyn Fn(&mut Vec<u8>)| {
        let mut members = members.clone();
        let name = format!("blobs/sha256/{}", digest.hex());
        change(&mut members.iter_mut().find(|(member, _)| *member == name).unwrap().1);
        members
    };
    let other = Layer::new().file("a", "b").bytes();
    let layer = Digest::of(&image.layers[0]);
    let swapped = changed(&layer, &|bytes| *bytes = gzip(&other));
    refused_members(&swapped, Limits::default(), "a layer should be").await;
    let trailing = changed(&layer, &|bytes| bytes.extend_from_slice(b"more"));
    refused_members(&trailing, Limits::default(), "").await;
    let cut = changed(&layer, &|bytes| bytes.truncate(bytes.len() / 2));
    refused_members(&cut, Limits::default(), "damaged").await;
    let spaced = |bytes: &mut Vec<u8>| bytes.push(b' ');
    refused_members(&changed(&Digest::of(&image.manifest), &spaced), Limits::default(), "digest").await;
    refused_members(&changed(&Digest::of(&image.config), &spaced), Limits::default(), "digest").await;
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let (said, is) = (Layer::new().file("a", "said").bytes(), Layer::new().file("a", "is").bytes());
    refused_with(&Image::new(vec![(gzip(&is), said)]), Limits::default(), "should unpack to").await;
}

#[tokio::test]
async fn files_that_are_no_archive_of_images_are_refused() {
    let members = |name: &str, content: &str| vec![(name.to_owned(), content.as_bytes().to_vec())];
    let limits = Limits::default;
    refused_members(&members("x", "y"), limits(), "holds no image").await;
    refused_members(&members("index.json", "{"), limits(), "cannot be read").await;
    refused_members(&members("index.json", r#"{"manifests":[]}"#), limits(), "holds no image").await;
    refused_members(&members("manifest.json", "[]"), limits(), "holds no image").await;
    let missing = Image::of(Layer::new()).members("x");
    refused_members(&missing[..2], limits(), "has no member").await;
    let escaping = r#"{"manifests":[{"digest":"sha256:../../../etc/passwd","size":1}]}"#;
    refused_members(&members("index.json", escaping), limits(), "not 64").await;
    let saved = r#"[{"Config":"../../../etc/passwd","RepoTags":["x"],"Layers":[]}]"#;
    refused_members(&members("manifest.json", saved), limits(), "has no member").await;
}

#[tokio::test]
async fn one_bad_layer_leaves_none_of_the_good_ones_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let good = Layer::new().file("good", "").bytes();
    let bad = Layer::new().entry(b"../x", EntryType::Regular, b"", b"", |_| {}).bytes();
    let image = Image::new(vec![(good.clone(), good), (bad.clone(), bad)]);
    let store = open_with(&root, Limits::default());

    store.import(build::archive(dir.path(), &image.members("x"))).await.unwrap_err();

    assert_empty(&root);
    assert!(Path::new(&root).is_dir());
}
