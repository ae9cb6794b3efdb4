//! What a command makes in a data directory, taken away again when the command fails before there is a
//! cluster.
//!
//! It must never take anything that was there before, and nothing at all where a cluster was.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::data_dir::DataDir;

/// The directory as it was.
pub(crate) struct Traces {
    directory: PathBuf,
    /// What was in it, where it was there and held no cluster.
    before: Option<BTreeSet<OsString>>,
    /// The topmost directory on the way to it that was not there.
    first_made: Option<PathBuf>,
    was_cluster: bool,
}

impl Traces {
    /// Looks, before anything is made.
    pub(crate) fn before(data_dir: &DataDir) -> Traces {
        let directory = data_dir.root().to_owned();
        let first_made = directory.ancestors().take_while(|path| !path.exists()).last().map(Path::to_owned);
        let before = fs::read_dir(&directory).ok();
        let before = before.map(|entries| entries.flatten().map(|entry| entry.file_name()).collect());
        let was_cluster = data_dir.path("cluster.json").exists();
        Traces { directory, before, first_made, was_cluster }
    }

    /// True when all there is of a cluster was made since.
    pub(crate) fn are_all_new(&self) -> bool {
        !self.was_cluster
    }

    /// Removes what was made since. An error here would only hide the one that matters.
    pub(crate) fn remove(self) {
        if self.was_cluster {
            return;
        }
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if self.before.as_ref().is_some_and(|before| before.contains(&entry.file_name())) {
                continue;
            }
            let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed =
                if directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            if let Err(error) = removed {
                tracing::warn!("remove {}: {error}", entry.path().display());
            }
        }
        let Some(first_made) = self.first_made else { return };
        let mut made = self.directory.ancestors().take_while(|path| path.starts_with(&first_made));
        // Directories on the way that somebody else uses by now are not empty and stay.
        made.all(|path| fs::remove_dir(path).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DataDirArgument;

    fn data_dir(path: &Path) -> DataDir {
        DataDir::find(&DataDirArgument { data_dir: Some(path.to_owned()) }).expect("a path")
    }

    #[test]
    fn what_was_made_goes_and_what_was_there_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let there = data_dir(directory.path());
        fs::create_dir(there.path("images")).expect("makes");
        let traces = Traces::before(&there);
        fs::create_dir_all(there.path("store/deep")).expect("makes");
        fs::write(there.path("cluster.json"), "{}").expect("writes");
        traces.remove();
        let left: Vec<_> = fs::read_dir(directory.path()).expect("is there").flatten().collect();
        assert_eq!(left.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), ["images"]);
    }

    #[test]
    fn directories_made_on_the_way_go_as_well() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = data_dir(&directory.path().join("a/b/c"));
        let traces = Traces::before(&deep);
        deep.create().expect("makes");
        fs::write(deep.path("lock"), "1").expect("writes");
        traces.remove();
        assert!(!directory.path().join("a").exists() && directory.path().exists());
    }

    #[test]
    fn a_cluster_that_was_there_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let there = data_dir(directory.path());
        fs::write(there.path("cluster.json"), "{}").expect("writes");
        let traces = Traces::before(&there);
        fs::write(there.path("more"), "x").expect("writes");
        traces.remove();
        assert!(there.path("more").exists() && there.path("cluster.json").exists());
    }
}
