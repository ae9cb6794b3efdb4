//! Images from a registry on loopback: by tag, by digest, for several architectures, with a password,
//! through a mirror, and what a user sees while an image is missing.

use testkit::cluster::{Cluster, image_archive};
use testkit::registry::Registry;

/// A pod that says where it came from and ends.
fn pod(name: &str, image: &str, secret: Option<&str>) -> String {
    let secrets = secret.map(|name| format!("imagePullSecrets: [{{name: {name}}}]")).unwrap_or_default();
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  {secrets}
  containers:
    - name: main
      image: {image}
      command: [sh, -c, 'echo pulled and run']
"
    )
}

#[track_caller]
fn assert_runs(cluster: &Cluster, name: &str) {
    cluster.wait_for(&format!("{name} has run"), |cluster| {
        cluster.value(&format!("pod/{name}"), "{.status.phase}") == "Succeeded"
    });
    assert_eq!(cluster.run(&["logs", name]), "pulled and run");
}

#[track_caller]
fn wait_waiting(cluster: &Cluster, name: &str, reason: &str) {
    cluster.wait_for(&format!("{name} waits with {reason}"), |cluster| {
        let path = "{.status.containerStatuses[0].state.waiting.reason}";
        cluster.value(&format!("pod/{name}"), path) == reason
    });
}

#[test]
fn images_come_from_a_registry_on_loopback() {
    let registry = Registry::start();
    let archive = image_archive("busybox");
    let digest = registry.push(&archive, "test/busybox", "1");
    registry.push_for_several_architectures(&archive, "test/several", "1");
    registry.push(&archive, "hub/busybox", "1.36");
    let mirrors = format!(
        "mirrors: {{docker.io: {{endpoint: ['http://{}'], rewrite: {{'^library/(.*)': 'hub/$1'}}}}}}",
        registry.address()
    );
    let Some(cluster) = Cluster::native_with_registries(&[], &mirrors) else { return };
    let (address, tagged) = (registry.address(), format!("{}/test/busybox:1", registry.address()));

    cluster.apply(&pod("missing", &format!("{address}/test/busybox:late"), None));
    cluster.apply(&pod("tagged", &tagged, None));
    assert_runs(&cluster, "tagged");
    let image_id = cluster.value("pod/tagged", "{.status.containerStatuses[0].imageID}");
    assert_eq!(image_id, format!("{address}/test/busybox@{digest}"));
    let events = cluster.run(&["get", "events", "--field-selector", "involvedObject.name=tagged"]);
    assert!(events.contains(&format!("Pulling image \"{tagged}\"")), "{events}");
    assert!(events.contains(&format!("Successfully pulled image \"{tagged}\" in ")), "{events}");

    cluster.apply(&pod("pinned", &format!("{address}/test/busybox@{digest}"), None));
    assert_runs(&cluster, "pinned");

    cluster.apply(&pod("several", &format!("{address}/test/several:1"), None));
    assert_runs(&cluster, "several");
    assert_eq!(registry.served("/v2/test/several/manifests/1").len(), 1);

    cluster.apply(&pod("mirrored", "busybox:1.36", None));
    assert_runs(&cluster, "mirrored");
    let asked = registry.served("/v2/hub/busybox/manifests/1.36");
    assert!(asked.iter().all(|request| request.contains("ns=docker.io")) && !asked.is_empty(), "{asked:?}");
    // Its layer was there already, under every name.
    assert_eq!(registry.served("/blobs/").len(), 2, "a configuration and a layer, once each");

    wait_waiting(&cluster, "missing", "ImagePullBackOff");
    let shown = cluster.run(&["get", "pod", "missing", "--no-headers"]);
    assert!(shown.contains("ImagePullBackOff"), "{shown}");
    let events = cluster.run(&["get", "events", "--field-selector", "involvedObject.name=missing"]);
    assert!(events.contains("Failed to pull image") && events.contains("404"), "{events}");
    assert!(events.contains("Back-off pulling image"), "{events}");
    registry.push(&archive, "test/busybox", "late");
    assert_runs(&cluster, "missing");
}

#[test]
fn a_private_registry_wants_the_pods_pull_secret() {
    let registry = Registry::start_private("reader", "s3cret");
    let image = format!("{}/test/busybox:1", registry.address());
    registry.push(&image_archive("busybox"), "test/busybox", "1");
    let Some(cluster) = Cluster::native(&[]) else { return };

    cluster.apply(&pod("stranger", &image, None));
    wait_waiting(&cluster, "stranger", "ImagePullBackOff");
    let events = cluster.run(&["get", "events", "--field-selector", "involvedObject.name=stranger"]);
    assert!(events.contains("401"), "{events}");

    let server = format!("--docker-server={}", registry.address());
    let login = ["--docker-username=reader", "--docker-password=s3cret"];
    cluster.run(&[&["create", "secret", "docker-registry", "login", &server], &login[..]].concat());
    cluster.apply(&pod("reader", &image, Some("login")));
    assert_runs(&cluster, "reader");
}
