//! `ordinal image`: imports and lists images.
//!
//! The running cluster does it where there is one, since it holds the store; otherwise this process does.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use runtime::api::{Image, Images};
use runtime::images::{Store, StoreOptions};

use crate::cli::{ImageArguments, ImageCommand};
use crate::control::{self, Answer, NotReached, Request};
use crate::data_dir::DataDir;
use crate::output;
use crate::traces::Traces;

/// Carries the command out.
pub(crate) async fn run(arguments: ImageArguments) -> Result<()> {
    match arguments.command {
        ImageCommand::Import { data_dir, files } => {
            let data_dir = DataDir::find(&data_dir)?;
            let mut traces = Some(Traces::before(&data_dir));
            for file in files {
                let file = std::path::absolute(file)?;
                let name = file.display().to_string();
                let imported = import(&data_dir, file).await.with_context(|| format!("import {name}"));
                let images = match (imported, traces.take()) {
                    (Ok(images), _) => images,
                    (Err(error), traces) => {
                        // Only where no earlier file of this command brought images.
                        traces.into_iter().for_each(Traces::remove);
                        return Err(error);
                    }
                };
                for image in images {
                    output::line(format_args!("imported {}", image.tags.join(", ")));
                }
            }
        }
        ImageCommand::List { data_dir } => {
            let data_dir = DataDir::find(&data_dir)?;
            let images = ask(&data_dir, Request::Images, async |images| images.list().await).await?;
            let mut rows: Vec<Vec<String>> = images.iter().flat_map(rows).collect();
            rows.sort();
            output::line(output::table(&["IMAGE", "ID", "SIZE"], &rows));
        }
    }
    Ok(())
}

async fn import(data_dir: &DataDir, file: PathBuf) -> Result<Vec<Image>> {
    let here = file.clone();
    ask(data_dir, Request::Import(file), async move |images| images.import(here).await).await
}

async fn ask(
    data_dir: &DataDir,
    request: Request,
    here: impl AsyncFnOnce(Arc<dyn Images>) -> Result<Vec<Image>, runtime::api::ImageError>,
) -> Result<Vec<Image>> {
    while data_dir.is_locked() {
        match control::ask(data_dir, &request).await {
            Ok(Answer::Images(images)) => return Ok(images),
            Ok(Answer::Done | Answer::Failed(_)) => return Ok(Vec::new()),
            // It was no cluster but another import, which never listens; now it is done.
            Err(error) if error.is::<NotReached>() && !data_dir.is_locked() => {}
            Err(error) if error.is::<NotReached>() => {
                let hint = "another process uses this cluster's directory and does not answer; if it imports \
                            an image, try again when it is done";
                return Err(error.context(hint));
            }
            Err(error) => return Err(error),
        }
    }
    let importing = matches!(request, Request::Import(_));
    if !importing && !data_dir.path("images").exists() {
        return Ok(Vec::new());
    }
    data_dir.create()?;
    let _lock = data_dir.lock()?;
    let store = Store::open(data_dir.path("images"), StoreOptions::default())?;
    Ok(here(Arc::new(store)).await?)
}

fn rows(image: &Image) -> Vec<Vec<String>> {
    let short = image.id.0.trim_start_matches("sha256:").get(..12).unwrap_or_default().to_owned();
    let size = format!("{} MiB", image.size_bytes.div_ceil(1 << 20));
    let names = if image.tags.is_empty() { vec!["<none>".to_owned()] } else { image.tags.clone() };
    names.into_iter().map(|name| vec![name, short.clone(), size.clone()]).collect()
}
