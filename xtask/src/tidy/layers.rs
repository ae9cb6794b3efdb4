//! Who may depend on whom: a crate only on those of lower rank.
//!
//! Crates of the same rank know nothing of each other; what they share lies below them. Dependencies of
//! tests keep to the order too, or two crates could not be built apart.

use std::path::Path;

use super::Offence;

/// From the bottom to the top, as ARCHITECTURE.md draws it.
const RANKS: &[&[&str]] = &[
    &["model"],
    &["store"],
    &["client"],
    &["dns", "network", "reconcile", "runtime", "storage"],
    &["apiserver"],
    &["controllers", "scheduler"],
    &["node"],
    &["ordinal", "testkit"],
];

fn rank(name: &str) -> Option<usize> {
    RANKS.iter().position(|crates| crates.contains(&name))
}

/// Checks one `Cargo.toml`.
pub(super) fn check(file: &Path, text: &str) -> Vec<Offence> {
    let mut parts = file.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
    let (first, name) = (parts.next(), parts.next());
    let (own, name) = match (first, name) {
        (Some("crates"), Some(name)) => match rank(name) {
            Some(rank) => (rank, name),
            None => {
                return vec![Offence::new(file, 0, "a crate without a rank: give it one in xtask's RANKS")];
            }
        },
        // What builds before everything else needs nothing of it.
        (Some("xtask"), _) => (0, "xtask"),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut among_dependencies = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            among_dependencies = line.contains("dependencies");
            if let Some((_, dependency)) = line.trim_end_matches(']').rsplit_once("dependencies.") {
                judge(&mut found, file, index + 1, (own, name), dependency);
            }
        } else if among_dependencies {
            let dependency = line.split(['.', '=', ' ']).next().unwrap_or_default();
            judge(&mut found, file, index + 1, (own, name), dependency);
        }
    }
    found
}

fn judge(found: &mut Vec<Offence>, file: &Path, line: usize, (own, name): (usize, &str), dependency: &str) {
    if rank(dependency).is_some_and(|rank| rank >= own) {
        found.push(Offence::new(
            file,
            line,
            format!("{name} may not depend on {dependency}: it is not below"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(file: &str, text: &str) -> Vec<usize> {
        check(Path::new(file), text).iter().map(|offence| offence.line).collect()
    }

    #[test]
    fn a_crate_may_depend_only_on_those_below_it() {
        let text =
            "[package]\nname = \"a\"\n[dependencies]\nmodel.workspace = true\nclient = { path = \"x\" }\n";
        assert_eq!(complaints("crates/store/Cargo.toml", text), [5]);
        assert_eq!(complaints("crates/dns/Cargo.toml", "[dependencies]\nnetwork.workspace = true\n"), [2]);
        assert_eq!(
            complaints("crates/dns/Cargo.toml", "[dev-dependencies]\nclient.workspace = true\n"),
            [0usize; 0]
        );
        assert_eq!(complaints("crates/model/Cargo.toml", "[dependencies.store]\npath = \"../store\"\n"), [1]);
    }

    #[test]
    fn a_crate_that_nobody_ranked_is_noticed_and_xtask_needs_none() {
        assert_eq!(complaints("crates/new/Cargo.toml", ""), [0]);
        assert_eq!(
            complaints("xtask/Cargo.toml", "[dependencies]\nclap.workspace = true\nmodel.workspace = true\n"),
            [3]
        );
    }
}
