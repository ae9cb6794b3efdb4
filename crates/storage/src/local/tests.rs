//! The local driver against the real kernel. Mounting needs root; without it those tests say so and pass.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::mounts;

fn request(name: &str, capacity_bytes: u64) -> CreateVolume {
    CreateVolume {
        name: name.to_owned(),
        capacity_bytes,
        parameters: Default::default(),
        node: Some("node-a".to_owned()),
    }
}

fn publish(id: &VolumeId, target: PathBuf, readonly: bool, fs_group: Option<u32>) -> PublishVolume {
    PublishVolume { id: id.clone(), context: Default::default(), target_path: target, readonly, fs_group }
}

/// A driver in a directory of its own; what is mounted below is unmounted when the test is over.
struct Fixture {
    root: tempfile::TempDir,
    driver: LocalDriver,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().expect("a directory");
        let driver = LocalDriver::open(root.path()).expect("opens");
        Fixture { root, driver }
    }

    fn target(&self, name: &str) -> PathBuf {
        let targets = self.root.path().join("targets");
        fs::create_dir_all(&targets).expect("made");
        targets.join(name)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = mounts::unmount_beneath(self.root.path());
    }
}

fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: mounting needs root");
    }
    root
}

#[tokio::test]
async fn creating_twice_gives_the_same_volume_and_refuses_another_size() {
    let fixture = Fixture::new();
    let first = fixture.driver.create_volume(request("pvc-1", 1 << 30)).await.expect("made");
    let second = fixture.driver.create_volume(request("pvc-1", 1 << 30)).await.expect("found");
    assert_eq!(first, second);
    let refused = fixture.driver.create_volume(request("pvc-1", 2 << 30)).await;
    assert!(matches!(refused, Err(DriverError::AlreadyExists { .. })), "{refused:?}");
    assert_eq!(fixture.driver.list_volumes().await.expect("listed"), vec![first]);
}

#[tokio::test]
async fn names_that_leave_the_directory_are_refused() {
    let fixture = Fixture::new();
    for name in ["../x", "", "a/b", ".creating-x"] {
        let refused = fixture.driver.create_volume(request(name, 1)).await;
        assert!(matches!(refused, Err(DriverError::InvalidArgument { .. })), "{name:?}");
        let refused = fixture.driver.delete_volume(&VolumeId(name.to_owned())).await;
        assert!(matches!(refused, Err(DriverError::InvalidArgument { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn a_reopened_driver_sweeps_up_half_made_and_half_removed_volumes_only() {
    let fixture = Fixture::new();
    fixture.driver.create_volume(request("kept", 1)).await.expect("made");
    let volumes = fixture.root.path().join("volumes");
    fs::create_dir_all(volumes.join(".creating-a/data")).expect("made");
    fs::create_dir_all(volumes.join(".deleting-b/data/deep")).expect("made");
    let driver = LocalDriver::open(fixture.root.path()).expect("opens");
    let names: Vec<String> =
        driver.list_volumes().await.expect("listed").into_iter().map(|volume| volume.id.0).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(fs::read_dir(&volumes).expect("read").count(), 1);
}

#[tokio::test]
async fn only_a_volume_that_holds_nothing_is_discarded() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = LocalDriver::open(directory.path()).expect("opens");
    let [empty, used] = ["pvc-empty", "pvc-used"].map(|name| request(name, 1024));
    let empty = driver.create_volume(empty).await.expect("is made").id;
    let used = driver.create_volume(used).await.expect("is made").id;
    fs::write(driver.content_path(&used).join("key"), "value").expect("is written");
    assert!(driver.discard_empty(&empty).await.expect("can be discarded"));
    assert!(!driver.discard_empty(&used).await.expect("is looked at"));
    assert!(driver.discard_empty(&empty).await.expect("is gone, which is no error"));
    let left: Vec<VolumeId> =
        driver.list_volumes().await.expect("are listed").into_iter().map(|volume| volume.id).collect();
    assert_eq!(left, [used.clone()]);
    assert_eq!(fs::read_to_string(driver.content_path(&used).join("key")).expect("is kept"), "value");
}

#[tokio::test]
async fn a_volume_whose_discarding_was_cut_off_is_whole_again_when_it_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let driver = LocalDriver::open(directory.path()).expect("opens");
    let volume = driver.create_volume(request("pvc-1", 1024)).await.expect("is made");
    fs::remove_dir(driver.content_path(&volume.id)).expect("is empty");
    assert_eq!(driver.create_volume(request("pvc-1", 1024)).await.expect("is there"), volume);
    let mode = fs::metadata(driver.content_path(&volume.id)).expect("is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o777);
}

#[tokio::test]
async fn deleting_does_not_follow_links_out_of_the_volume() {
    let fixture = Fixture::new();
    let volume = fixture.driver.create_volume(request("v", 1)).await.expect("made");
    let outside = fixture.root.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("precious"), "x").expect("written");
    symlink(&outside, fixture.driver.content_path(&volume.id).join("link")).expect("linked");
    fixture.driver.delete_volume(&volume.id).await.expect("removed");
    fixture.driver.delete_volume(&volume.id).await.expect("removing twice is no error");
    assert!(outside.join("precious").exists());
    assert!(fixture.driver.list_volumes().await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_published_volume_is_seen_at_its_target_and_cannot_be_deleted() {
    if !may_mount() {
        return;
    }
    let fixture = Fixture::new();
    let volume = fixture.driver.create_volume(request("v", 1)).await.expect("made");
    let target = fixture.target("pod-1");
    let wanted = publish(&volume.id, target.clone(), false, None);
    fixture.driver.publish(wanted.clone()).await.expect("published");
    fixture.driver.publish(wanted).await.expect("publishing twice is no error");
    assert_eq!(mounts::beneath(&target).expect("read").len(), 1);
    fs::write(target.join("file"), "kept").expect("written");

    let refused = fixture.driver.delete_volume(&volume.id).await.expect_err("is mounted");
    assert!(refused.to_string().contains("still mounted at"), "{refused}");

    fixture.driver.unpublish(&volume.id, target.clone()).await.expect("unpublished");
    fixture.driver.unpublish(&volume.id, target.clone()).await.expect("unpublishing twice is no error");
    assert!(!target.exists());
    let content = fixture.driver.content_path(&volume.id).join("file");
    assert_eq!(fs::read_to_string(content).expect("read"), "kept");
    fixture.driver.delete_volume(&volume.id).await.expect("removed");
}

#[tokio::test]
async fn a_readonly_publish_cannot_be_written_through() {
    if !may_mount() {
        return;
    }
    let fixture = Fixture::new();
    let volume = fixture.driver.create_volume(request("v", 1)).await.expect("made");
    let target = fixture.target("pod-1");
    fixture.driver.publish(publish(&volume.id, target.clone(), true, None)).await.expect("published");
    let refused = fs::write(target.join("file"), "x").expect_err("is read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[tokio::test]
async fn another_mount_at_the_target_is_refused() {
    if !may_mount() {
        return;
    }
    let fixture = Fixture::new();
    let first = fixture.driver.create_volume(request("first", 1)).await.expect("made");
    let second = fixture.driver.create_volume(request("second", 1)).await.expect("made");
    let target = fixture.target("pod-1");
    fixture.driver.publish(publish(&first.id, target.clone(), false, None)).await.expect("published");
    let refused = fixture.driver.publish(publish(&second.id, target, false, None)).await;
    assert!(matches!(refused, Err(DriverError::AlreadyExists { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_group_is_given_to_every_file_once_and_never_through_links() {
    if !may_mount() {
        return;
    }
    let fixture = Fixture::new();
    let volume = fixture.driver.create_volume(request("v", 1)).await.expect("made");
    let content = fixture.driver.content_path(&volume.id);
    let outside = fixture.root.path().join("outside");
    fs::write(&outside, "x").expect("written");
    fs::create_dir(content.join("deep")).expect("made");
    fs::write(content.join("deep/file"), "x").expect("written");
    symlink(&outside, content.join("link")).expect("linked");
    let target = fixture.target("pod-1");
    fixture.driver.publish(publish(&volume.id, target, false, Some(4242))).await.expect("published");

    let directory = fs::metadata(content.join("deep")).expect("there");
    assert_eq!((directory.gid(), directory.permissions().mode() & 0o2770), (4242, 0o2770));
    let file = fs::metadata(content.join("deep/file")).expect("there");
    assert_eq!((file.gid(), file.permissions().mode() & 0o660), (4242, 0o660));
    assert_ne!(fs::metadata(&outside).expect("there").gid(), 4242);

    // The root has the group now: files are left alone, however many there are.
    std::os::unix::fs::chown(content.join("deep/file"), None, Some(7)).expect("changed");
    apply_group(&content, 4242).expect("applied");
    assert_eq!(fs::metadata(content.join("deep/file")).expect("there").gid(), 7);
}

#[tokio::test]
async fn stats_are_those_of_the_file_system_and_need_a_volume() {
    let fixture = Fixture::new();
    let volume = fixture.driver.create_volume(request("v", 1)).await.expect("made");
    let stats = fixture.driver.stats(&volume.id).await.expect("read");
    assert!(stats.total_bytes >= stats.used_bytes && stats.total_bytes >= stats.available_bytes);
    let missing = fixture.driver.stats(&VolumeId("none".to_owned())).await;
    assert!(matches!(missing, Err(DriverError::NotFound { .. })));
}
