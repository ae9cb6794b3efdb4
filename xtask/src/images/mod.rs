//! Images without a registry: OCI archives made from Debian's packages, under the names the examples use.
//!
//! An image holds only what its program needs: the binaries, the libraries the loader finds for them, and
//! busybox for a shell. The same packages give the same bytes; what is there already is not made again.
//! Nothing of the machine's own files goes in.
//!
//! Read next: [`recipes`] (what each image holds), [`packages`] (where it comes from), [`archive`] (what is
//! written).

mod archive;
mod packages;
mod recipes;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use packages::Packages;
use recipes::Recipe;

/// Makes the archives named in `which` (all when it is empty) as `<out_dir>/<name>.tar`; gives their paths.
pub(crate) fn build(out_dir: &Path, which: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let recipes = recipes::all();
    for name in which {
        if !recipes.iter().any(|recipe| recipe.name == *name) {
            let known: Vec<&str> = recipes.iter().map(|recipe| recipe.name).collect();
            bail!("there is no image {name:?}; there are {}", known.join(", "));
        }
    }
    fs::create_dir_all(out_dir).with_context(|| format!("make {}", out_dir.display()))?;
    let out_dir = out_dir.canonicalize().context("find the directory for images")?;
    let wanted = recipes.iter().filter(|recipe| which.is_empty() || which.contains(&recipe.name));
    wanted
        .map(|recipe| make(recipe, &out_dir).with_context(|| format!("make the image {}", recipe.name)))
        .collect()
}

fn make(recipe: &Recipe, out_dir: &Path) -> anyhow::Result<PathBuf> {
    let archive = out_dir.join(format!("{}.tar", recipe.name));
    let stamp = out_dir.join(format!("{}.stamp", recipe.name));
    let made = if archive.is_file() { fs::read_to_string(&stamp).unwrap_or_default() } else { String::new() };
    if made.starts_with(&recipe.fingerprint()) && !lists_are_newer(&stamp) {
        return Ok(archive);
    }
    let packages = match Packages::find(recipe.packages, recipe.without) {
        Ok(packages) => packages,
        // Without Debian's package lists an archive that is there still serves.
        Err(error) if archive.is_file() && stamp.is_file() => {
            eprintln!("{} is used as it is: {error:#}", archive.display());
            return Ok(archive);
        }
        Err(error) => return Err(error),
    };
    let current = format!("{}\n{}", recipe.fingerprint(), packages.versions());
    if made == current {
        fs::write(&stamp, current).context("note that the image is still the right one")?;
        return Ok(archive);
    }
    eprintln!("making {} from {} packages", archive.display(), packages.len());
    let unpacked = packages.unpack(&out_dir.join("packages"), recipe.name)?;
    let contents = (recipe.contents)(&unpacked);
    fs::remove_dir_all(&unpacked).context("remove the unpacked packages")?;
    archive::write(&archive, recipe, &contents?)?;
    fs::write(&stamp, current).context("note what the image was made from")?;
    Ok(archive)
}

/// Whether apt learned of other packages since; asking apt itself takes seconds.
fn lists_are_newer(stamp: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(made) = changed(stamp) else { return true };
    let sources = ["/var/lib/apt/lists", "/etc/apt/sources.list", "/etc/apt/sources.list.d"];
    sources.iter().filter_map(|source| changed(Path::new(source))).any(|changed| changed > made)
}
