//! Reads what `cargo test -- --show-output` prints: what passed, what failed, what was skipped and why.
//!
//! A test that cannot run on this machine prints `skipped: <reason>` and returns; the harness counts it as
//! passed and shows its output only because we ask for it. We take those tests out of the count.

/// What a run of many test programs came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: Vec<String>,
    pub(super) skipped: Vec<(String, String)>,
}

/// Takes the output line by line.
#[derive(Default)]
pub(super) struct Reader {
    tally: Tally,
    /// The test program that is running.
    program: Option<Program>,
    section: Section,
    /// The test whose output is being shown.
    shown: String,
    build_failed: bool,
}

struct Program {
    name: String,
    failed: Vec<String>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Section {
    #[default]
    Results,
    /// What tests that passed have printed; only what they skipped is of interest.
    Successes,
    Failures,
}

impl Reader {
    /// Takes the next line; whether a person wants to see it.
    pub(super) fn feed(&mut self, line: &str) -> bool {
        let trimmed = line.trim_start();
        let started = ["Running ", "Doc-tests "].iter().find_map(|word| trimmed.strip_prefix(word));
        if let Some(name) = started.filter(|_| line.starts_with("  ")) {
            self.end_of_program();
            self.program = Some(Program { name: program_name(name), failed: Vec::new() });
            return true;
        }
        if line.starts_with("test result: ") {
            self.result(line);
            return true;
        }
        match trimmed {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ => {}
        }
        if let Some(shown) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            shown.clone_into(&mut self.shown);
        }
        if let Some(reason) = trimmed.strip_prefix("skipped: ").filter(|_| self.section == Section::Successes)
        {
            let program = self.program.as_ref().map_or("", |program| program.name.as_str());
            self.tally.skipped.push((format!("{program}: {}", self.shown), reason.to_owned()));
        }
        if self.section == Section::Results
            && let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
            && let Some(program) = &mut self.program
        {
            program.failed.push(test.to_owned());
        }
        if line.starts_with("error: could not compile")
            || line.starts_with("error: failed to run custom build")
        {
            self.build_failed = true;
        }
        self.section != Section::Successes
    }

    fn result(&mut self, line: &str) {
        self.section = Section::Results;
        let count = |word: &str| {
            let end = line.find(word)?;
            line[..end].trim_end().rsplit(' ').next()?.parse::<usize>().ok()
        };
        self.tally.passed += count("passed").unwrap_or(0);
        let failed = count("failed").unwrap_or(0);
        let Some(program) = self.program.take() else { return };
        let mut names = program.failed;
        // Output of another process may have torn a line, so that a name is not known; the count is.
        names.resize(names.len().max(failed), "a test whose name was torn".to_owned());
        self.tally.failed.extend(names.iter().map(|name| format!("{}: {name}", program.name)));
    }

    fn end_of_program(&mut self) {
        self.section = Section::Results;
        if let Some(program) = self.program.take() {
            self.tally.failed.push(format!("{}: ended without a result", program.name));
        }
    }

    /// What it all came to.
    pub(super) fn finish(mut self) -> Tally {
        self.end_of_program();
        if self.build_failed {
            self.tally.failed.push("the build of the tests".to_owned());
        }
        self.tally.passed -= self.tally.skipped.len().min(self.tally.passed);
        self.tally
    }
}

/// `unittests src/lib.rs (target/debug/deps/model-0a1b)` is the program `model (src/lib.rs)`.
fn program_name(rest: &str) -> String {
    let Some((what, path)) = rest.rsplit_once(" (") else { return format!("doc {rest}") };
    let file = path.trim_end_matches(')').rsplit('/').next().unwrap_or_default();
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    format!("{name} ({})", what.trim_start_matches("unittests "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Tally, String) {
        let mut reader = Reader::default();
        let shown: Vec<&str> = text.lines().filter(|line| reader.feed(line)).collect();
        (reader.finish(), shown.join("\n"))
    }

    const RUN: &str = "\
\x20    Running unittests src/lib.rs (target/debug/deps/model-0a1b)

running 3 tests
test a ... ok
test b ... FAILED
test c ... ok

successes:

---- a stdout ----
noise
---- c stdout ----
skipped: mounting needs root


successes:
    a
    c

failures:

---- b stdout ----
thread 'b' panicked

failures:
    b

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn skipped_tests_are_named_and_not_counted_as_passed() {
        let (tally, shown) = read(RUN);
        assert_eq!(tally.passed, 1);
        assert_eq!(tally.failed, ["model (src/lib.rs): b"]);
        let skipped = ("model (src/lib.rs): c".to_owned(), "mounting needs root".to_owned());
        assert_eq!(tally.skipped, [skipped]);
        assert!(shown.contains("thread 'b' panicked") && !shown.contains("noise"));
    }

    #[test]
    fn a_program_that_dies_counts_as_a_failure() {
        let died = "     Running tests/a.rs (target/debug/deps/a-1)\nrunning 1 test\n";
        let (tally, _) = read(&format!("{died}{RUN}"));
        assert_eq!(tally.failed, ["a (tests/a.rs): ended without a result", "model (src/lib.rs): b"]);
    }

    #[test]
    fn a_torn_line_does_not_hide_a_failure() {
        let (tally, _) = read(&RUN.replace("test b ... FAILED", "test b ... other outputFAILED"));
        assert_eq!(tally.failed.len(), 1);
    }

    #[test]
    fn a_build_that_fails_is_a_failure() {
        let (tally, _) = read("error: could not compile `model` (lib test) due to 1 previous error\n");
        assert_eq!(tally.failed, ["the build of the tests"]);
    }
}
