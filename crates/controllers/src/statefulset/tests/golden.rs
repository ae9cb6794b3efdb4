//! Runs the scripts and compares; `UPDATE_GOLDEN=1` rewrites what is below each command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::script;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/statefulset/tests/scripts")
}

fn scripts() -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(directory()).expect("the scripts are there");
    let paths = entries.map(|entry| entry.expect("can be listed").path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts.map(|path| (path.clone(), fs::read_to_string(path).expect("can be read"))).collect()
}

#[test]
fn each_script_gives_the_plans_below_its_commands() {
    let mut different = Vec::new();
    for (path, expected) in scripts() {
        let actual = std::panic::catch_unwind(|| script::run(&expected))
            .unwrap_or_else(|_| panic!("{} could not be run", path.display()));
        if actual == expected {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, actual).expect("can be written");
            continue;
        }
        let line = actual.lines().zip(expected.lines()).position(|(actual, expected)| actual != expected);
        let line = line.unwrap_or_else(|| actual.lines().count().min(expected.lines().count()));
        different.push(format!(
            "{}:{}: expected {:?}, got {:?}",
            path.display(),
            line + 1,
            expected.lines().nth(line),
            actual.lines().nth(line)
        ));
    }
    assert!(different.is_empty(), "{}\n`UPDATE_GOLDEN=1` rewrites them", different.join("\n"));
}

#[test]
fn each_fact_on_the_list_is_covered_by_a_script() {
    let list = fs::read_to_string(directory().join("../facts.md")).expect("the list is there");
    let facts: BTreeSet<&str> =
        list.lines().filter_map(|line| line.strip_prefix("- ")?.split_whitespace().next()).collect();
    assert!(facts.len() > 40, "the list has lost its form");
    let scripts = scripts();
    let covered: BTreeSet<&str> = scripts
        .values()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("# covers "))
        .flat_map(|line| line.split(',').map(str::trim))
        .collect();
    let missing: Vec<_> = facts.difference(&covered).collect();
    assert!(missing.is_empty(), "no script covers {missing:?}");
    let unknown: Vec<_> = covered.difference(&facts).collect();
    assert!(unknown.is_empty(), "scripts cover what is not on the list: {unknown:?}");
}
