//! The rules for each Rust file.
//!
//! Lines are judged as rustfmt leaves them, which makes it simple to tell tests from the rest: an item ends
//! at the first closing brace that stands where the item began.

use std::path::Path;

use super::Offence;

/// A file is one idea; when it grows beyond this, find the second one.
const LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 110;

/// Files and folders that may start tasks nobody supervises, each with the reason.
const MAY_SPAWN: &[(&str, &str)] = &[
    ("xtask/", "not part of the product"),
    ("crates/ordinal/", "the composition root is who supervises"),
    ("crates/apiserver/src/subresources/exec.rs", "a connection that is upgraded outlives its request"),
    ("crates/apiserver/src/subresources/channels.rs", "a connection that is upgraded outlives its request"),
];

/// Crates that talk to the kernel.
const MAY_BE_UNSAFE: &[&str] =
    &["crates/runtime/", "crates/network/", "crates/storage/", "crates/store/tests/common/disk.rs"];

/// Checks one Rust file.
pub(super) fn check(file: &Path, text: &str) -> Vec<Offence> {
    let name = file.to_str().unwrap_or_default();
    let mut found = Vec::new();
    let mut complain = |line: usize, what: String| found.push(Offence::new(file, line, what));
    if !text.starts_with("//!") {
        complain(
            1,
            "a file opens with //!: what it is, what it must never do, where to read next".to_owned(),
        );
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complain(0, format!("{lines} lines; at most {LINES_MAX}: find the second idea in it"));
    }
    let whole = is_test_file(name);
    let mut scope = Scope::default();
    for (index, line) in text.lines().enumerate() {
        let in_tests = scope.feed(line) || whole;
        let number = index + 1;
        let columns = line.chars().count();
        // What a test expects is data.
        let is_data = (in_tests && !line.trim_start().starts_with("//")) || holds_a_long_text(line);
        if columns > COLUMNS_MAX && !is_data {
            complain(number, format!("{columns} columns; at most {COLUMNS_MAX}"));
        }
        let code = without_comment(line);
        for (word, what) in banned(name, in_tests) {
            // A task that ends with its handle has a supervisor.
            if code.contains(&word) && !code.contains("AbortOnDropHandle::new(") {
                complain(number, what.to_owned());
            }
        }
    }
    found
}

/// Words that may not stand in this place, each with what to say. They are put together here so that this
/// file does not offend itself.
fn banned(name: &str, in_tests: bool) -> Vec<(String, &'static str)> {
    let mut words = vec![
        (["tod", "o!("].concat(), "unfinished"),
        (["unimplemen", "ted!("].concat(), "unfinished"),
        (["db", "g!("].concat(), "left from looking for a bug"),
        (["#[igno", "re"].concat(), "a test that does not run shows nothing"),
    ];
    if !in_tests {
        words.push(([".unwr", "ap()"].concat(), "say why it cannot fail: expect(\"…\")"));
        let may_spawn = MAY_SPAWN.iter().any(|(place, _)| name.starts_with(place));
        if !may_spawn {
            words.push((
                ["tokio::spa", "wn("].concat(),
                "a task nobody supervises: use a JoinSet or TaskTracker",
            ));
        }
    }
    if !MAY_BE_UNSAFE.iter().any(|place| name.starts_with(place)) {
        words.push((["(unsafe", "_code"].concat(), "unsafe code belongs into runtime, network or storage"));
    }
    words
}

/// Whether the whole file is made of tests.
fn is_test_file(name: &str) -> bool {
    let stem = name.strip_suffix(".rs").unwrap_or(name);
    name.contains("/tests/")
        || name.contains("/examples/")
        || name.starts_with("crates/testkit/")
        || stem.ends_with("/tests")
        || stem.ends_with("_tests")
}

/// The line as far as it is code: a comment begins at the first `//` that stands outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut previous = ' ';
    for (at, letter) in line.char_indices() {
        match letter {
            '"' if previous != '\\' => quoted = !quoted,
            '/' if previous == '/' && !quoted => return &line[..at - 1],
            _ => {}
        }
        previous = letter;
    }
    line
}

/// Where we are between `#[cfg(test)]` and the end of the item that it stands before.
#[derive(Default)]
struct Scope {
    /// The indentation of the attribute, while its item goes on.
    item: Option<usize>,
    opened: bool,
}

impl Scope {
    /// Takes the next line; whether it belongs to tests.
    fn feed(&mut self, line: &str) -> bool {
        let indentation = line.len() - line.trim_start().len();
        let Some(start) = self.item else {
            if line.trim_start().starts_with("#[cfg(test)]") {
                *self = Scope { item: Some(indentation), opened: false };
                return true;
            }
            return false;
        };
        let end = line.trim_end();
        if self.opened {
            if indentation == start && end.trim_start().starts_with('}') {
                *self = Scope::default();
            }
        } else if end.ends_with('{') {
            self.opened = true;
        } else if end.ends_with(';') || end.ends_with('}') {
            *self = Scope::default();
        }
        true
    }
}

/// True where most of a line is one text in quotes. Such a text is kept whole, so that whoever sees it on a
/// screen finds it in the tree.
fn holds_a_long_text(line: &str) -> bool {
    let is_comment = line.trim_start().starts_with("//");
    let long = |text: &str| text.chars().count() > COLUMNS_MAX / 2;
    !is_comment && line.replace("\\\"", "__").split('"').skip(1).step_by(2).any(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(name: &str, text: &str) -> Vec<usize> {
        check(Path::new(name), text).iter().map(|offence| offence.line).collect()
    }

    #[test]
    fn a_file_opens_with_its_purpose() {
        assert_eq!(lines("crates/model/src/a.rs", "use std::fs;\n"), [1]);
        assert_eq!(lines("crates/model/src/a.rs", "//! Reads.\nuse std::fs;\n"), [0usize; 0]);
    }

    #[test]
    fn long_files_and_long_lines_are_noticed() {
        let long = format!("//! Long.\n{}", "// x\n".repeat(LINES_MAX));
        assert_eq!(lines("crates/model/src/a.rs", &long), [0]);
        let umlauts = format!("//! {}\n", "ä".repeat(COLUMNS_MAX - 4));
        assert_eq!(lines("crates/model/src/a.rs", &umlauts), [0usize; 0], "columns are characters");
        assert_eq!(lines("crates/model/src/a.rs", &format!("//! {}\n", "a".repeat(COLUMNS_MAX))), [1]);
        let text = format!("//! Says.\nconst A: &str = \"{}\";\n", "a".repeat(COLUMNS_MAX));
        assert_eq!(lines("crates/model/src/a.rs", &text), [0usize; 0], "a text is kept whole");
    }

    #[test]
    fn only_tests_may_fail_without_a_word() {
        let call = [".unwr", "ap()"].concat();
        let text = format!(
            "//! A.\nfn a() {{\n    b(){call};\n}}\n#[cfg(test)]\nmod tests {{\n\
             \x20   fn c() {{\n        d(){call};\n\
             \x20   }}\n}}\n\
             fn e() {{\n    f(){call}; // g\n    // h(){call}\n    \"//\"{call};\n}}\n"
        );
        assert_eq!(lines("crates/model/src/a.rs", &text), [3, 12, 14]);
        assert_eq!(lines("crates/model/tests/a.rs", &text), [0usize; 0]);
        assert_eq!(lines("crates/model/src/plan_tests.rs", &text), [0usize; 0]);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_does_not_hide_what_follows() {
        let call = [".unwr", "ap()"].concat();
        let text = format!("//! A.\n#[cfg(test)]\nmod tests;\nfn a() {{\n    b(){call};\n}}\n");
        assert_eq!(lines("crates/model/src/a.rs", &text), [5]);
    }

    #[test]
    fn tasks_are_supervised_but_where_the_list_says_why() {
        let text = format!("//! A.\nfn a() {{\n    {}b());\n}}\n", ["tokio::spa", "wn("].concat());
        assert_eq!(lines("crates/node/src/a.rs", &text), [3]);
        assert_eq!(lines(MAY_SPAWN[0].0, &text), [0usize; 0]);
        assert_eq!(lines("crates/node/tests/a.rs", &text), [0usize; 0]);
    }

    #[test]
    fn the_list_of_exceptions_names_files_that_exist() {
        for (file, reason) in MAY_SPAWN {
            assert!(crate::tree::root().join(file).exists(), "{file} is gone; {reason}");
        }
    }
}
