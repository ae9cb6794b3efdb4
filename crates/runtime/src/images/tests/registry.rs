//! Pulling from registries on loopback.

use std::path::Path;

use super::build::{Image, Layer, gzip};
use super::server::{Behaviour, Server};
use super::{assert_empty, open};
use crate::api::{ImageError, ImageId, Images, RegistryAuth};
use crate::images::{Digest, Store, StoreOptions};
use crate::rootfs::Layers;

fn image() -> Image {
    let layers = (0..5).map(|number| Layer::new().file("n", &format!("{number}")).bytes());
    Image::new(layers.map(|plain| (gzip(&plain), plain)).collect())
}

/// One layer that does not compress, so that its transfer can be broken in the middle.
fn large_image() -> Image {
    let mut state = 1_u32;
    let noise: String = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        })
        .collect();
    Image::of(Layer::new().file("noise", &noise))
}

fn open_with_registries(dir: &Path, text: &str) -> Store {
    let path = dir.join("registries.yaml");
    std::fs::write(&path, text).unwrap();
    Store::open(dir.join("store"), StoreOptions { registries: Some(path), ..StoreOptions::default() })
        .unwrap()
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let server = Server::start(&[("x", "1", &image)], Behaviour::default()).await;
    let store = open(dir.path());

    let pulled = store.pull(&format!("{}/x:1", server.address), None).await.unwrap();

    assert_eq!(pulled.id, ImageId(image.id()));
    assert_eq!(pulled.tags, [format!("{}/x:1", server.address)]);
    let pinned = format!("{}/x@{}", server.address, Digest::of(&image.manifest));
    assert_eq!(pulled.digests, [pinned.clone()]);
    let layers = store.layer_dirs(&pulled.id).unwrap();
    assert_eq!(std::fs::read_to_string(layers[4].join("n")).unwrap(), "4");
    assert_eq!(store.pull(&pinned, None).await.unwrap().id, pulled.id);
    assert_eq!(server.seen("/blobs/").len(), 6, "nothing is fetched twice");
}

#[tokio::test]
async fn concurrent_pulls_fetch_each_layer_once() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let server = Server::start(&[("x", "1", &image), ("y", "1", &image)], Behaviour::default()).await;
    let store = open(dir.path());
    let references: Vec<String> =
        ["x", "y", "x", "y"].iter().map(|name| format!("{}/{name}:1", server.address)).collect();

    let pulls = references.iter().map(|reference| store.pull(reference, None));
    for pulled in futures::future::join_all(pulls).await {
        assert_eq!(pulled.unwrap().id, ImageId(image.id()));
    }

    for layer in &image.layers {
        assert_eq!(server.seen(&Digest::of(layer).to_string()).len(), 1);
    }
    assert_eq!(store.image(&references[0]).await.unwrap().unwrap().tags.len(), 2);
}

#[tokio::test]
async fn a_token_is_fetched_once_and_with_the_credentials_given() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let behaviour = Behaviour { token_for: Some(Some(("me", "secret"))), ..Behaviour::default() };
    let server = Server::start(&[("x", "1", &image)], behaviour).await;
    let store = open(dir.path());
    let reference = format!("{}/x:1", server.address);

    let error = store.pull(&reference, None).await.unwrap_err();
    assert!(matches!(&error, ImageError::Pull { reason, .. } if reason.contains("401")), "{error}");
    let before = server.seen("/token").len();
    let auth = RegistryAuth { username: "me".to_owned(), password: "secret".to_owned() };
    store.pull(&reference, Some(auth)).await.unwrap();

    let tokens = server.seen("/token");
    assert_eq!(tokens.len() - before, 1, "{tokens:?}");
    assert!(tokens[before].contains("service=test&") || tokens[before].contains("&service=test"));
    assert!(tokens[before].contains("scope=repository%3Ax%3Apull"));
}

#[tokio::test]
async fn anybody_gets_a_token_where_anybody_may_and_basic_is_answered_too() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let token = Behaviour { token_for: Some(None), ..Behaviour::default() };
    let server = Server::start(&[("x", "1", &image)], token).await;
    open(&dir.path().join("1")).pull(&format!("{}/x:1", server.address), None).await.unwrap();

    let basic = Behaviour { basic: Some(("me", "secret")), ..Behaviour::default() };
    let server = Server::start(&[("x", "1", &image)], basic).await;
    let configs = format!("configs: {{'{}': {{auth: {{username: me, password: secret}}}}}}", server.address);
    let store = open_with_registries(dir.path(), &configs);
    store.pull(&format!("{}/x:1", server.address), None).await.unwrap();
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let image = large_image();
    let half = image.layers[0].len() / 2 + 1;
    let behaviour = Behaviour { break_after: Some(half), ..Behaviour::default() };
    let server = Server::start(&[("x", "1", &image)], behaviour).await;
    let store = open(dir.path());

    store.pull(&format!("{}/x:1", server.address), None).await.unwrap();

    let requests = server.seen(&Digest::of(&image.layers[0]).to_string());
    assert!(requests.len() >= 2, "{requests:?}");
    assert!(requests[1..].iter().all(|request| request.contains("range=bytes=")), "{requests:?}");
}

#[tokio::test]
async fn a_transfer_that_never_gets_on_is_given_up_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let image = large_image();
    let behaviour = Behaviour { break_after: Some(1000), no_ranges: true, ..Behaviour::default() };
    let server = Server::start(&[("x", "1", &image)], behaviour).await;
    let store = open(dir.path());

    let error = store.pull(&format!("{}/x:1", server.address), None).await.unwrap_err();

    assert!(matches!(error, ImageError::Pull { .. }), "{error}");
    assert_empty(dir.path());
}

#[tokio::test]
async fn a_server_that_is_unavailable_for_a_moment_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let behaviour = Behaviour { unavailable: 1, ..Behaviour::default() };
    let server = Server::start(&[("x", "1", &image)], behaviour).await;
    open(dir.path()).pull(&format!("{}/x:1", server.address), None).await.unwrap();
}

#[tokio::test]
async fn content_with_another_digest_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (image, other) = (large_image(), image());
    let manifests = "/v2/x/manifests/1".to_owned();
    let blob = |bytes: &[u8]| format!("/v2/x/blobs/{}", Digest::of(bytes));
    let mut wrong = image.layers[0].clone();
    wrong[1000] ^= 1;
    let layer: std::collections::BTreeMap<String, Vec<u8>> = [
        (manifests.clone(), image.manifest.clone()),
        (blob(&image.config), image.config.clone()),
        (blob(&image.layers[0]), wrong),
    ]
    .into();
    let mut config = layer.clone();
    config.insert(
        blob(&image.config),
        other.config.clone()[..image.config.len().min(other.config.len())].to_vec(),
    );
    let mut longer = layer.clone();
    longer.get_mut(&blob(&image.layers[0])).unwrap().push(0);
    for content in [layer, config, longer] {
        let server = Server::serve(content, Behaviour::default()).await;
        let store = open(dir.path());
        let error = store.pull(&format!("{}/x:1", server.address), None).await.unwrap_err();
        assert!(matches!(error, ImageError::Refused { .. }), "{error}");
        assert_empty(dir.path());
    }
    let pinned = format!("/v2/x/manifests/{}", Digest::of(&image.manifest));
    let server = Server::serve([(pinned, other.manifest)].into(), Behaviour::default()).await;
    let reference = format!("{}/x@{}", server.address, Digest::of(&image.manifest));
    let error = open(dir.path()).pull(&reference, None).await.unwrap_err();
    assert!(matches!(error, ImageError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_mirror_serves_under_its_own_names_and_the_image_keeps_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let server = Server::start(&[("official/redis", "alpine", &image)], Behaviour::default()).await;
    let text = format!(
        "mirrors: {{docker.io: {{endpoint: ['http://{}'], rewrite: {{'^library/(.*)': 'official/$1'}}}}}}",
        server.address
    );
    let store = open_with_registries(dir.path(), &text);

    let pulled = store.pull("redis:alpine", None).await.unwrap();

    assert_eq!(pulled.tags, ["docker.io/library/redis:alpine"]);
    assert!(server.seen("manifests/alpine")[0].contains("?ns=docker.io"));
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_carry_the_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let storage = Server::start(&[("x", "1", &image)], Behaviour::default()).await;
    let behaviour = Behaviour {
        basic: Some(("me", "secret")),
        redirect_blobs: Some(format!("http://{}", storage.address)),
        ..Behaviour::default()
    };
    let server = Server::start(&[("x", "1", &image)], behaviour).await;
    let auth = RegistryAuth { username: "me".to_owned(), password: "secret".to_owned() };

    open(dir.path()).pull(&format!("{}/x:1", server.address), Some(auth)).await.unwrap();

    let asked = storage.seen("/blobs/");
    assert_eq!(asked.len(), 6);
    assert!(asked.iter().all(|request| request.contains("auth= ")), "{asked:?}");
}

#[tokio::test]
async fn what_is_not_there_says_so_for_every_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[], Behaviour::default()).await;
    let error = open(dir.path()).pull(&format!("{}/x:1", server.address), None).await.unwrap_err();
    assert!(matches!(&error, ImageError::Pull { reason, .. } if reason.contains("404")), "{error}");
    let error = open(dir.path()).pull("Not Valid", None).await.unwrap_err();
    assert!(matches!(error, ImageError::BadReference { .. }), "{error}");
}
