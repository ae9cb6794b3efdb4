//! Documents: links lead somewhere, and the text speaks of Ordinal only.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Offence;

/// Checks the relative links of a Markdown file against the files of the tree.
pub(super) fn links(file: &Path, text: &str, known: &BTreeSet<PathBuf>) -> Vec<Offence> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if elsewhere {
                continue;
            }
            let directory = file.parent().unwrap_or(Path::new(""));
            if !leads_somewhere(&directory.join(path), known) {
                found.push(Offence::new(file, index + 1, format!("the link {target} leads nowhere")));
            }
        }
    }
    found
}

fn leads_somewhere(path: &Path, known: &BTreeSet<PathBuf>) -> bool {
    let mut plain = PathBuf::new();
    for part in path {
        match part.to_str() {
            Some(".") => {}
            Some("..") => {
                if !plain.pop() {
                    return false;
                }
            }
            _ => plain.push(part),
        }
    }
    known.contains(&plain) || known.iter().any(|file| file.starts_with(&plain))
}

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::trim)
}

/// Checks that every test which a document names is in the tree, so that a promise cannot outlive its test.
pub(super) fn tests(file: &Path, text: &str, sources: &[(PathBuf, String)]) -> Vec<Offence> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2).filter(|name| is_sentence(name)) {
            let function = format!("fn {name}(");
            if !sources.iter().any(|(_, source)| source.contains(&function)) {
                found.push(Offence::new(file, index + 1, format!("there is no test {name}")));
            }
        }
    }
    found
}

/// Whether a name in code quotes is that of a test: at least four words joined by underscores.
fn is_sentence(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    plain && name.split('_').count() >= 4
}

/// Words that speak of the place where the text was written instead of Ordinal. They are put together here
/// so that this file does not offend itself.
fn banned() -> [String; 6] {
    [
        ["/wo", "rk/"].concat(),
        ["/root/", "brief"].concat(),
        ["/root/", "t/"].concat(),
        ["this sess", "ion"].concat(),
        ["another sess", "ion"].concat(),
        ["helper sess", "ion"].concat(),
    ]
}

/// Checks any text file for words that do not belong into it.
pub(super) fn words(file: &Path, text: &str) -> Vec<Offence> {
    let banned = banned();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in banned.iter().filter(|word| line.contains(word.as_str())) {
            found.push(Offence::new(file, index + 1, format!("{word:?} does not belong into the tree")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_where_they_stand() {
        let known: BTreeSet<PathBuf> =
            ["README.md", "docs/a.md", "crates/model/src/lib.rs"].map(PathBuf::from).into();
        let text = "[a](a.md) [b](../README.md#top) [c](https://a.b/c) [d](#d)\n\
                    [e](../crates/model) [f](f.md)\n\
                    [g](../../README.md)\n```\n[h](h.md)\n```\n";
        let found = links(Path::new("docs/x.md"), text, &known);
        let lines: Vec<_> = found.iter().map(|offence| (offence.line, offence.what.as_str())).collect();
        assert_eq!(
            lines,
            [(2, "the link f.md leads nowhere"), (3, "the link ../../README.md leads nowhere")]
        );
    }

    #[test]
    fn a_test_that_a_document_names_must_exist() {
        let sources = [(PathBuf::from("a.rs"), "fn a_promise_is_kept() {}".to_owned())];
        let text = "`a_promise_is_kept` and `kubectl`\n`another_promise_is_kept`\n";
        let found = tests(Path::new("S.md"), text, &sources);
        let lines: Vec<_> = found.iter().map(|offence| (offence.line, offence.what.as_str())).collect();
        assert_eq!(lines, [(2, "there is no test another_promise_is_kept")]);
    }

    #[test]
    fn paths_of_one_machine_are_noticed() {
        for word in banned() {
            assert_eq!(words(Path::new("a.md"), &format!("fine\nsee {word}\n"))[0].line, 2);
        }
        assert!(words(Path::new("a.md"), "sessionAffinity: ClientIP\n").is_empty());
    }
}
