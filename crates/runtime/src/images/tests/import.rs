//! Importing archives, and what becomes of images afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::build::{self, Image, Layer, descriptor, gzip, zstandard};
use super::{names, open};
use crate::api::{ImageError, ImageId, Images};
use crate::images::Digest;
use crate::rootfs::Layers;

const NAME: &str = "docker.io/library/x:1";

#[tokio::test]
async fn an_oci_archive_becomes_an_image_with_its_layers_and_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let lower = Layer::new().directory("etc/").file("etc/a", "lower").bytes();
    let middle = Layer::new().file("etc/b", "middle").bytes();
    let upper = Layer::new().file("c", "upper").bytes();
    let image = Image::new(vec![
        (gzip(&lower), lower.clone()),
        (zstandard(&middle), middle.clone()),
        (upper.clone(), upper.clone()),
    ]);
    let archive = build::archive(dir.path(), &image.members(NAME));
    let store = open(&dir.path().join("store"));

    let imported = store.import(archive).await.unwrap();

    assert_eq!(imported.len(), 1);
    assert_eq!(imported[0].id, ImageId(image.id()));
    assert_eq!(imported[0].tags, [NAME]);
    assert_eq!(imported[0].digests, [format!("docker.io/library/x@{}", Digest::of(&image.manifest))]);
    assert_eq!(imported[0].size_bytes, 16);
    for reference in ["x:1", NAME, &imported[0].digests[0], &image.id()] {
        assert_eq!(store.image(reference).await.unwrap().as_ref(), imported.first(), "{reference}");
    }
    assert_eq!(store.image("x:2").await.unwrap(), None);
    let config = store.image_config(&imported[0].id).unwrap();
    assert_eq!(config.config().as_ref().unwrap().cmd().as_deref(), Some(&["sh".to_owned()][..]));
    let layers = store.layer_dirs(&imported[0].id).unwrap();
    assert_eq!(layers.len(), 3);
    assert_eq!(fs::read_to_string(layers[0].join("etc/a")).unwrap(), "lower");
    assert_eq!(fs::read_to_string(layers[1].join("etc/b")).unwrap(), "middle");
    assert_eq!(fs::read_to_string(layers[2].join("c")).unwrap(), "upper");
    assert_eq!(layers[0].file_name().unwrap().to_str().unwrap(), Digest::of(&lower).hex());
}

#[tokio::test]
async fn what_docker_saves_becomes_an_image_also_where_a_layer_is_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::new().file("a", "a").bytes();
    let image = Image::new(vec![(layer.clone(), layer.clone()), (layer.clone(), layer.clone())]);
    let config = format!("{}.json", Digest::of(&image.config).hex());
    let layers = ["1/layer.tar", "2/layer.tar"];
    let saved = json!([{"Config": config, "RepoTags": ["x:1", "q.io/y:2"], "Layers": layers}]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("manifest.json", saved.to_string().as_bytes());
    add(&config, &image.config);
    add("1/layer.tar", &layer);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "2/layer.tar", "../1/layer.tar").unwrap();
    let archive = dir.path().join("saved.tar");
    fs::write(&archive, builder.into_inner().unwrap()).unwrap();
    let store = open(&dir.path().join("store"));

    let imported = store.import(archive).await.unwrap();

    assert_eq!(imported[0].id, ImageId(image.id()));
    assert_eq!(imported[0].tags, [NAME, "q.io/y:2"]);
    // The same layer twice is one directory: overlayfs refuses to have it twice.
    assert_eq!(store.layer_dirs(&imported[0].id).unwrap().len(), 1);
}

#[tokio::test]
async fn of_several_platforms_this_machines_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Image::of(Layer::new().file("ours", ""));
    let other = Image::of(Layer::new().file("other", ""));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let mut manifests = Vec::new();
    for (image, os, architecture) in [
        (&other, "windows", crate::images::documents::architecture()),
        (&other, "linux", "mips"),
        (&other, "unknown", "unknown"),
        (&ours, "linux", crate::images::documents::architecture()),
    ] {
        let mut descriptor = descriptor(kind, &image.manifest);
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        manifests.push(descriptor);
    }
    let inner = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap();
    let mut outer = descriptor("application/vnd.oci.image.index.v1+json", &inner);
    outer["annotations"] = json!({"org.opencontainers.image.ref.name": NAME});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [outer]})).unwrap();
    let mut members = ours.members(NAME);
    members[1].1 = index;
    members.push((format!("blobs/sha256/{}", Digest::of(&inner).hex()), inner));
    let archive = build::archive(dir.path(), &members);
    let store = open(&dir.path().join("store"));

    let imported = store.import(archive).await.unwrap();

    assert_eq!(imported[0].id, ImageId(ours.id()));
    assert_eq!(imported[0].tags, [NAME]);
}

#[tokio::test]
async fn an_image_with_several_names_in_an_archive_is_one_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image::of(Layer::new().file("a", ""));
    let mut members = image.members("x:1");
    let named = ["x:1", "x:2", "q.io/y:3"].map(|name| {
        let mut named = descriptor("application/vnd.oci.image.manifest.v1+json", &image.manifest);
        named["annotations"] = json!({"io.containerd.image.name": name});
        named
    });
    members[1].1 = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": named})).unwrap();
    let store = open(&dir.path().join("store"));

    let imported = store.import(build::archive(dir.path(), &members)).await.unwrap();

    assert_eq!(imported.len(), 1);
    assert_eq!(imported[0].tags, [NAME, "docker.io/library/x:2", "q.io/y:3"]);
}

#[tokio::test]
async fn a_tag_moves_to_the_image_that_was_imported_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let first = Image::of(Layer::new().file("first", ""));
    let second = Image::of(Layer::new().file("second", ""));
    for image in [&first, &second] {
        store.import(build::archive(dir.path(), &image.members(NAME))).await.unwrap();
    }

    assert_eq!(store.image(NAME).await.unwrap().unwrap().id, ImageId(second.id()));
    let old = store.image(&first.id()).await.unwrap().unwrap();
    assert_eq!(old.tags, Vec::<String>::new());
    assert_eq!(store.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn removing_an_image_keeps_the_layers_that_others_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let shared = Layer::new().file("shared", "").bytes();
    let own = |name: &str| Layer::new().file(name, "").bytes();
    let image = |own: Vec<u8>| Image::new(vec![(shared.clone(), shared.clone()), (own.clone(), own)]);
    let (one, other) = (image(own("one")), image(own("other")));
    store.import(build::archive(dir.path(), &one.members("x:1"))).await.unwrap();
    store.import(build::archive(dir.path(), &other.members("x:2"))).await.unwrap();
    let shared_dir = store.layer_dirs(&ImageId(one.id())).unwrap().remove(0);
    let inode = fs::metadata(&shared_dir).unwrap().ino();

    store.remove(&ImageId(one.id())).await.unwrap();
    store.remove(&ImageId(one.id())).await.unwrap();

    assert!(matches!(store.layer_dirs(&ImageId(one.id())), Err(ImageError::NotPresent { .. })));
    assert_eq!(names(&dir.path().join("store/layers")).len(), 4);
    assert_eq!(fs::metadata(&shared_dir).unwrap().ino(), inode);

    store.remove(&ImageId(other.id())).await.unwrap();

    assert_eq!(names(&dir.path().join("store/layers")), Vec::<String>::new());
    assert_eq!(names(&dir.path().join("store/blobs/sha256")), Vec::<String>::new());
}

#[tokio::test]
async fn images_outlive_the_store_and_what_a_crash_leaves_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let image = Image::of(Layer::new().file("a", ""));
    let archive = build::archive(dir.path(), &image.members(NAME));
    open(&root).import(archive).await.unwrap();
    let unnamed = "0".repeat(64);
    fs::create_dir_all(root.join("temp/1-0/half")).unwrap();
    fs::create_dir_all(root.join("layers").join(&unnamed)).unwrap();
    fs::write(root.join("blobs/sha256").join(&unnamed), "x").unwrap();

    let store = open(&root);

    assert!(store.image(NAME).await.unwrap().is_some());
    assert!(!root.join("temp/1-0").exists());
    assert!(!root.join("layers").join(&unnamed).exists());
    assert!(!root.join("blobs/sha256").join(&unnamed).exists());
}

#[tokio::test]
async fn a_store_opened_beside_another_takes_nothing_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let first = open(&root);
    let unfinished = first.shared.content.temporary_directory().unwrap();
    let second = open(&root);
    let image = Image::of(Layer::new().file("a", ""));

    second.import(build::archive(dir.path(), &image.members(NAME))).await.unwrap();

    assert!(unfinished.path().is_dir());
    assert!(first.image(NAME).await.unwrap().is_some());
}

#[tokio::test]
async fn a_layer_in_many_archives_at_once_is_unpacked_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let image = Image::of(Layer::new().file("a", &"a".repeat(100_000)));
    let archive = build::archive(dir.path(), &image.members(NAME));
    let imports = (0..8).map(|_| store.import(archive.clone()));

    for imported in futures::future::join_all(imports).await {
        assert_eq!(imported.unwrap()[0].id, ImageId(image.id()));
    }

    assert_eq!(store.shared.unpacked.load(std::sync::atomic::Ordering::Relaxed), 1);
}
