//! Pulling: a reference becomes an image, from the first endpoint that gives all of it.
//!
//! A document is verified before it is read, a layer while it is unpacked; a broken transfer goes on where it
//! stopped. Layers that came through before an error are kept for the next try, but not those of an image
//! that was refused.
//!
//! Read next: [`super::registry`] (how endpoints are asked), [`super::store`] (where layers go).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use http::StatusCode;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::api::{Image, ImageError, RegistryAuth};

use super::content::{Record, Temporary};
use super::digest::Digest;
use super::documents::{self, Descriptor, Document, Manifest};
use super::layer::Expected;
use super::reference::Reference;
use super::registry::{Client, FetchError};
use super::store::{ASSEMBLY_TRIES_MAX, Shared};
use super::{failed, refused};

/// Transfers at the same time, as other engines have it: more makes each slower, not all faster.
pub(super) const TRANSFERS_MAX: usize = 3;

/// Tries of one request or transfer that make no progress: with the waits below, about 6 seconds.
const TRIES_MAX: u32 = 5;

/// Tries of one transfer while its registry, which answered before, lets nobody connect: it may be starting
/// anew. One wait of 0.4 s; longer ones are the pod's back-off.
const UNREACHABLE_TRIES_MAX: u32 = 2;

/// Tries of one transfer in all, however little comes each time.
const TRANSFER_TRIES_MAX: u32 = 50;

/// Wait before the second try; each further one is twice as long: 0.4 + 0.8 + 1.6 + 3.2 s. Tests are in a
/// hurry.
const BACKOFF_FIRST: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 400 });

/// Indexes within indexes that are followed.
const INDEX_DEPTH_MAX: usize = 3;

/// Gets an image from its registry, or a mirror.
pub(super) async fn pull(
    shared: &Arc<Shared>,
    reference: &Reference,
    auth: Option<RegistryAuth>,
) -> Result<Image, ImageError> {
    let mut reasons = Vec::new();
    for endpoint in shared.registries.endpoints(reference, auth.as_ref()) {
        let client = Client::new(endpoint);
        match pull_from(shared, &client, reference).await {
            Ok(image) => return Ok(image),
            Err(FetchError::Final(error)) => return Err(error),
            Err(
                FetchError::Denied(reason) | FetchError::Broken(reason) | FetchError::Unreachable(reason),
            ) => {
                tracing::debug!(%reference, endpoint = client.name(), reason, "an endpoint failed");
                reasons.push(format!("{}: {reason}", client.name()));
            }
        }
    }
    Err(ImageError::Pull { reference: reference.to_string(), reason: reasons.join("; ") })
}

async fn pull_from(
    shared: &Arc<Shared>,
    client: &Client,
    reference: &Reference,
) -> Result<Image, FetchError> {
    let (manifest, mut documents) = manifest(shared, client, reference).await?;
    let top = documents[0].0.clone();
    let config = blob(shared, client, &manifest.config).await?;
    let (_, layers) = documents::read_config(Some(&manifest), &config, &shared.limits)?;
    let id = manifest.config.digest.clone();
    let record = Record {
        tags: reference.tagged().into_iter().collect(),
        digests: [reference.pinned(&top)].into(),
        documents: documents.iter().map(|(digest, _)| digest.clone()).collect(),
        layers: Vec::new(),
        imported: false,
    };
    documents.push((id.clone(), config));
    for _ in 0..ASSEMBLY_TRIES_MAX {
        let sizes = try_join_all(layers.iter().map(|expected| layer(shared, client, expected))).await;
        let diff_ids = layers.iter().map(|expected| expected.diff_id.clone());
        let checked = sizes.and_then(|sizes| {
            let sized: Vec<(Digest, u64)> = diff_ids.clone().zip(sizes).collect();
            shared.check_size(&sized)?;
            Ok(sized)
        });
        let sized = match checked {
            Ok(sized) => sized,
            Err(FetchError::Final(error @ ImageError::Refused { .. })) => {
                let had: Vec<(Digest, u64)> = diff_ids.map(|diff_id| (diff_id, 0)).collect();
                shared
                    .blocking(move |shared| {
                        shared.abandon(&had);
                        Ok(())
                    })
                    .await?;
                return Err(error.into());
            }
            Err(error) => return Err(error),
        };
        let (id, documents) = (id.clone(), documents.clone());
        let record = Record { layers: sized, ..record.clone() };
        let added = shared.blocking(move |shared| shared.content.add_image(&id, &record, &documents)).await?;
        if let Ok(image) = added {
            return Ok(image);
        }
    }
    Err(failed("add the image", "its layers are being removed again and again").into())
}

/// The manifest for this machine, and the documents on the way to it, the one the reference names first.
async fn manifest(
    shared: &Shared,
    client: &Client,
    reference: &Reference,
) -> Result<(Manifest, Vec<(Digest, Vec<u8>)>), FetchError> {
    let bytes_max = shared.limits.document_bytes_max;
    let accept = documents::accepted();
    let mut documents: Vec<(Digest, Vec<u8>)> = Vec::new();
    let mut wanted = reference.digest().cloned();
    let mut path = format!("manifests/{}", reference.version());
    while documents.len() <= INDEX_DEPTH_MAX {
        let bytes = retried(|| async {
            client.get(&path, &accept, 0).await?.document("the manifest", bytes_max).await
        })
        .await?;
        let digest = Digest::of(&bytes);
        if let Some(wanted) = &wanted {
            wanted.verify("the manifest", &bytes)?;
        }
        let document = documents::read(&bytes)?;
        documents.push((digest, bytes));
        match document {
            Document::Manifest(manifest) => return Ok((manifest, documents)),
            Document::Index(index) => {
                let chosen = documents::choose(&index)?;
                path = format!("manifests/{}", chosen.digest);
                wanted = Some(chosen.digest.clone());
            }
        }
    }
    Err(refused(format!("the image has more than {INDEX_DEPTH_MAX} indexes in each other")).into())
}

async fn blob(shared: &Shared, client: &Client, descriptor: &Descriptor) -> Result<Vec<u8>, FetchError> {
    if let Some(bytes) = shared.content.document(&descriptor.digest)?
        && Digest::of(&bytes) == descriptor.digest
    {
        return Ok(bytes);
    }
    let what = "the image's configuration";
    let path = format!("blobs/{}", descriptor.digest);
    let bytes_max = shared.limits.document_bytes_max.min(descriptor.size);
    let bytes =
        retried(|| async { client.get(&path, "*/*", 0).await?.document(what, bytes_max).await }).await?;
    descriptor.digest.verify(what, &bytes)?;
    Ok(bytes)
}

/// Has a layer in its place; gives its unpacked size.
async fn layer(shared: &Arc<Shared>, client: &Client, expected: &Expected) -> Result<u64, FetchError> {
    let lock = shared.layer_lock(&expected.diff_id);
    let _held = lock.lock().await;
    if let Some(size) = shared.content.layer_size(&expected.diff_id) {
        return Ok(size);
    }
    let (digest, size) = expected.blob.clone().expect("a manifest names every layer's blob");
    if size > shared.limits.layer_bytes_max {
        return Err(refused(format!("a layer has {size} bytes, too many")).into());
    }
    let _permit = shared.transfers.acquire().await.expect("it is never closed");
    let fetched = Temporary::at(shared.content.temporary());
    transfer(client, &format!("blobs/{digest}"), size, fetched.path()).await?;
    let expected = expected.clone();
    let unpacked = shared.blocking(move |shared| {
        let file = std::fs::File::open(fetched.path()).map_err(|error| failed("open a layer", error))?;
        shared.unpack(&expected, file)
    });
    Ok(unpacked.await?)
}

/// Copies a blob of `size` bytes into a file, going on after interruptions where it stopped.
async fn transfer(client: &Client, path: &str, size: u64, to: &Path) -> Result<(), FetchError> {
    let disk = |error: io::Error| FetchError::Final(failed("write a layer", error));
    let mut file = File::create(to).await.map_err(disk)?;
    let (mut written, mut idle_tries, mut tries) = (0, 0, 0);
    loop {
        let before = written;
        let (error, idle_tries_max) = match receive(client, path, size, &mut file, &mut written).await {
            Ok(()) => return file.flush().await.map_err(disk),
            Err(FetchError::Broken(reason)) => (reason, TRIES_MAX),
            Err(FetchError::Unreachable(reason)) => (reason, UNREACHABLE_TRIES_MAX),
            Err(error) => return Err(error),
        };
        tries += 1;
        idle_tries = if written > before { 0 } else { idle_tries + 1 };
        if idle_tries >= idle_tries_max || tries >= TRANSFER_TRIES_MAX {
            return Err(FetchError::Broken(format!("{error} ({tries} tries, {written} of {size} bytes)")));
        }
        tokio::time::sleep(BACKOFF_FIRST * 2u32.pow(idle_tries.saturating_sub(1))).await;
    }
}

async fn receive(
    client: &Client,
    path: &str,
    size: u64,
    file: &mut File,
    written: &mut u64,
) -> Result<(), FetchError> {
    let disk = |error: io::Error| FetchError::Final(failed("write a layer", error));
    if *written == size && size > 0 {
        return Ok(());
    }
    let mut answer = client.get(path, "*/*", *written).await?;
    let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT
        && answer
            .header("content-range")
            .is_some_and(|range| range.starts_with(&format!("bytes {written}-")));
    if !goes_on {
        // The server gives it from the beginning again.
        *written = 0;
        file.set_len(0).await.map_err(disk)?;
    }
    file.seek(io::SeekFrom::Start(*written)).await.map_err(disk)?;
    while let Some(piece) = answer.piece().await? {
        if *written + piece.len() as u64 > size {
            return Err(refused(format!("a layer should have {size} bytes and has more")).into());
        }
        file.write_all(&piece).await.map_err(disk)?;
        *written += piece.len() as u64;
    }
    if *written < size {
        return Err(FetchError::Broken("the transfer ended early".to_owned()));
    }
    Ok(())
}

/// Asks again while the network or the server fails, but not where nobody is.
async fn retried<T, F: Future<Output = Result<T, FetchError>>>(ask: impl Fn() -> F) -> Result<T, FetchError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ask().await {
            Err(FetchError::Broken(_)) if tries < TRIES_MAX => {
                tokio::time::sleep(BACKOFF_FIRST * 2u32.pow(tries - 1)).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_registry_that_is_not_there_is_asked_once_and_a_broken_one_again() {
        for (error, asked) in [
            (FetchError::Unreachable("refused".to_owned()), 1),
            (FetchError::Broken("went away".to_owned()), TRIES_MAX),
        ] {
            let tries = Cell::new(0);
            let ask = || async {
                tries.set(tries.get() + 1);
                Err::<(), _>(error.clone())
            };
            retried(ask).await.expect_err("it never works");
            assert_eq!(tries.get(), asked, "{error:?}");
        }
    }
}
