//! What a layer's entries become.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::build::{self, Image, Layer};
use super::open;
use crate::api::Images;
use crate::rootfs::Layers;

async fn unpacked(dir: &Path, layer: Layer) -> PathBuf {
    let store = open(&dir.join("store"));
    let archive = build::archive(dir, &Image::of(layer).members("x"));
    let imported = store.import(archive).await.unwrap();
    store.layer_dirs(&imported[0].id).unwrap().remove(0)
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[tokio::test]
async fn owners_modes_times_and_attributes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    // Version 2, one capability (cap_net_bind_service), permitted and effective.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::new()
        .entry(b"d/", EntryType::Directory, b"", b"", |header| {
            header.set_mode(0o1750);
            header.set_uid(7);
            header.set_gid(8);
        })
        .entry(b"d/setuid", EntryType::Regular, b"", b"x", |header| {
            header.set_mode(0o4755);
            header.set_uid(999);
            header.set_gid(1000);
        })
        .records(&[
            ("mtime", b"1500000000.25"),
            ("uid", b"70000"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"yes"),
            ("SCHILY.xattr.security.selinux", b"no"),
        ])
        .file("d/capable", "x");
    let root = unpacked(dir.path(), layer).await;

    let directory = fs::metadata(root.join("d")).unwrap();
    assert_eq!((directory.mode() & 0o7777, directory.uid(), directory.gid()), (0o1750, 7, 8));
    assert_eq!(directory.mtime(), 1_000_000);
    let setuid = fs::metadata(root.join("d/setuid")).unwrap();
    assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o4755, 999, 1000));
    let capable = root.join("d/capable");
    let metadata = fs::metadata(&capable).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.mtime(), metadata.mtime_nsec()),
        (70000, 1_500_000_000, 250_000_000)
    );
    assert_eq!(attribute(&capable, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(attribute(&capable, "user.note").as_deref(), Some(&b"yes"[..]));
    assert_eq!(attribute(&capable, "security.selinux"), None);
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn links_pipes_and_names_that_are_not_text_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let layer = Layer::new()
        .file("a", "a")
        .hard_link("b", "a")
        .symlink("absolute", "/etc/passwd")
        .symlink("outside", "../../x")
        .hard_link("same-symlink", "absolute")
        .entry(b"pipe", EntryType::Fifo, b"", b"", |_| {})
        .file("usr/bin/deep", "no entries for its parents")
        .symlink("bin", "usr/bin")
        .file("bin/through", "through a link that stays inside")
        .entry(b"\xff\xfe", EntryType::Regular, b"", b"", |_| {})
        .records(&[("path", long.as_bytes())])
        .file("short", "long")
        .entry(b"././@LongLink", EntryType::GNULongName, b"", format!("{long}2\0").as_bytes(), |_| {})
        .file("short", "longer");
    let root = unpacked(dir.path(), layer).await;

    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(inode("absolute"), inode("same-symlink"));
    assert_eq!(fs::read_link(root.join("absolute")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_link(root.join("outside")).unwrap(), Path::new("../../x"));
    assert!(fs::symlink_metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(root.join("usr")).unwrap().mode() & 0o7777, 0o755);
    assert!(root.join("usr/bin/through").is_file());
    assert!(root.join(OsStr::from_bytes(b"\xff\xfe")).is_file());
    assert_eq!(fs::read_to_string(root.join(&long)).unwrap(), "long");
    assert_eq!(fs::read_to_string(root.join(format!("{long}2"))).unwrap(), "longer");
}

#[tokio::test]
async fn whiteouts_become_what_overlayfs_understands() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .file("d/.wh.gone", "")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/own", "own")
        .file(".wh..wh.plnk", "")
        .file("d/.wh.again", "")
        .directory("d/again/")
        .file("d/.wh.replaced", "")
        .file("d/replaced", "new");
    let root = unpacked(dir.path(), layer).await;

    let whiteout = fs::symlink_metadata(root.join("d/gone")).unwrap();
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(whiteout.rdev(), 0);
    let opaque = |name: &str| attribute(&root.join(name), "trusted.overlay.opaque");
    assert_eq!(opaque("opaque").as_deref(), Some(&b"y"[..]));
    assert_eq!(opaque("d/again").as_deref(), Some(&b"y"[..]));
    assert_eq!(opaque("d"), None);
    assert_eq!(fs::read_to_string(root.join("d/replaced")).unwrap(), "new");
    assert_eq!(super::names(&root), ["d", "opaque"]);
}
