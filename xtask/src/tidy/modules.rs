//! No dead files: each Rust file is a root that cargo knows, or a module that another file declares.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Offence;

/// The files, of all given with their text, that nothing declares.
pub(super) fn dead(files: &[(PathBuf, String)]) -> Vec<Offence> {
    let mut declared = BTreeSet::new();
    for (file, text) in files {
        declare(file, text, &mut declared);
    }
    let unknown =
        files.iter().map(|(file, _)| file).filter(|file| !is_root(file) && !declared.contains(*file));
    unknown.map(|file| Offence::new(file, 0, "a dead file: no mod declares it")).collect()
}

/// Whether cargo finds the file by itself.
fn is_root(file: &Path) -> bool {
    let parts: Vec<&str> = file.iter().map(|part| part.to_str().unwrap_or_default()).collect();
    match parts.as_slice() {
        [.., "src", "lib.rs" | "main.rs"] | [.., "build.rs"] => true,
        [.., "src", "bin", _] | [.., "src", "bin", _, "main.rs"] => true,
        [.., "tests" | "examples" | "benches", "main.rs"] => false,
        ["crates", _, "tests" | "examples" | "benches", _] => true,
        ["crates", _, "tests" | "examples" | "benches", _, "main.rs"] => true,
        _ => false,
    }
}

/// Adds the places where the modules that `file` declares may lie.
fn declare(file: &Path, text: &str, declared: &mut BTreeSet<PathBuf>) {
    let directory = file.parent().unwrap_or(Path::new(""));
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let owns_directory = is_root(file) || stem == "mod";
    let below = if owns_directory { directory.to_owned() } else { directory.join(stem) };
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(named) = line.strip_prefix("#[path = \"") {
            path = named.split('"').next();
            continue;
        }
        let Some(name) = module(line) else { continue };
        match path.take() {
            Some(path) => {
                declared.insert(plain(&directory.join(path)));
            }
            None => {
                declared.insert(below.join(format!("{name}.rs")));
                declared.insert(below.join(name).join("mod.rs"));
            }
        }
    }
}

/// The name in `mod name;`, with any visibility.
fn module(line: &str) -> Option<&str> {
    let rest = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    rest.strip_prefix("mod ")?.strip_suffix(';')
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path {
        if part == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_among(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> =
            files.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_owned())).collect();
        dead(&files).iter().map(|offence| offence.file.display().to_string()).collect()
    }

    #[test]
    fn a_file_that_no_module_names_is_dead() {
        let files = [
            ("crates/a/src/lib.rs", "//! A.\npub(crate) mod b;\nmod c;\n"),
            ("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            ("crates/a/src/b/tests.rs", ""),
            ("crates/a/src/c/mod.rs", "pub mod d;\n"),
            ("crates/a/src/c/d.rs", ""),
            ("crates/a/src/c/e.rs", ""),
            ("crates/a/tests/f.rs", "mod g;\n"),
            ("crates/a/tests/g/mod.rs", ""),
            ("crates/a/src/bin/h.rs", ""),
        ];
        assert_eq!(dead_among(&files), ["crates/a/src/c/e.rs"]);
    }

    #[test]
    fn a_path_attribute_declares_the_file_that_it_names() {
        let files = [("crates/a/src/lib.rs", "#[path = \"../b/c.rs\"]\nmod d;\n"), ("crates/a/b/c.rs", "")];
        assert_eq!(dead_among(&files), Vec::<String>::new());
    }
}
