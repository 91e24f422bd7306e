//! What every source file has to keep to.

use crate::tree::{Finding, Source};

/// A file with more lines does too much.
const FILE_LINES_MAX: usize = 600;

/// A function with more lines does not fit a screen.
const FUNCTION_LINES_MAX: usize = 75;

/// Files that may be longer, each with its reason. Better empty.
const LONG_FILES: [(&str, &str); 0] = [];

/// Words that have no place on main, with what to do instead. They are put together here so that this file
/// does not hold them.
const FORBIDDEN: [(&str, &str); 5] = [
    (concat!("#[", "ignore"), "a test that does not run is no test; mend or remove it"),
    (concat!("todo", "!("), "nothing unfinished on main"),
    (concat!("unimplemented", "!("), "nothing unfinished on main"),
    (concat!("TO", "DO"), "write an issue instead"),
    (concat!("FIX", "ME"), "write an issue instead"),
];

/// Everything that is wrong with sources.
pub(crate) fn findings(sources: &[Source]) -> Vec<Finding> {
    sources
        .iter()
        .flat_map(|source| {
            [
                opening(source),
                length(source),
                functions(source),
                words(source),
                queues(source),
                pauses(source),
            ]
        })
        .flatten()
        .collect()
}

fn opening(source: &Source) -> Vec<Finding> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Finding::new(
        &source.path,
        1,
        "does not open with `//!`: what it is, what it never does, its invariants",
    )]
}

fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX || LONG_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    vec![Finding::new(&source.path, 0, format!("has {lines} lines, more than {FILE_LINES_MAX}"))]
}

/// rustfmt closes a function at the indentation at which it opened it.
fn functions(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (line, text) in (1..).zip(source.text.lines()) {
        let indent = text.len().saturating_sub(text.trim_start().len());
        match open {
            None if opens_function(text) && !text.trim_end().ends_with(['}', ';']) => {
                open = Some((line, indent));
            }
            Some((first, outer))
                if indent == outer && (text.trim() == "}" || text.trim_end().ends_with(");")) =>
            {
                let lines = line.saturating_sub(first).saturating_add(1);
                if lines > FUNCTION_LINES_MAX {
                    let what = format!("a function of {lines} lines, more than {FUNCTION_LINES_MAX}");
                    findings.push(Finding::new(&source.path, first, what));
                }
                open = None;
            }
            _ => {}
        }
    }
    findings
}

fn opens_function(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().take(6).collect();
    let before = ["pub", "async", "const", "extern", "unsafe", "default"];
    words
        .iter()
        .find(|word| !before.contains(word) && !word.starts_with("pub("))
        .is_some_and(|word| *word == "fn")
}

fn words(source: &Source) -> Vec<Finding> {
    lines(source)
        .flat_map(|(line, text)| {
            FORBIDDEN
                .iter()
                .filter(|(word, _)| text.contains(word))
                .map(move |(word, instead)| Finding::new(&source.path, line, format!("`{word}`: {instead}")))
        })
        .collect()
}

fn queues(source: &Source) -> Vec<Finding> {
    lines(source)
        .filter(|(_, text)| !text.trim_start().starts_with("//") && makes_unbounded_queue(text))
        .map(|(line, _)| Finding::new(&source.path, line, "a queue without a limit; give it one with a name"))
        .collect()
}

fn makes_unbounded_queue(text: &str) -> bool {
    let calls = |name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at.saturating_add(name.len())..).unwrap_or_default();
            let whole = before.is_none_or(|char| !char.is_alphanumeric() && char != '_');
            whole && (after.starts_with('(') || after.starts_with("::<"))
        })
    };
    let std_channel = text.match_indices("mpsc::channel").any(|(at, found)| {
        let after = text.get(at.saturating_add(found.len())..).unwrap_or_default();
        after.starts_with("()") || (after.starts_with("::<") && after.contains(">()"))
    });
    calls(concat!("unbounded", "_channel")) || calls("unbounded") || std_channel
}

/// In tests a sleep is a guess about time; the one that stays says why in a comment above it.
fn pauses(source: &Source) -> Vec<Finding> {
    let all: Vec<(usize, &str)> = lines(source).collect();
    let tests_from = if is_test(&source.path) {
        Some(0)
    } else {
        all.iter().position(|(_, text)| text.contains("#[cfg(test)]"))
    };
    let Some(tests_from) = tests_from else { return Vec::new() };
    let explained = |at: usize| {
        let above = all.get(at.saturating_sub(3)..at).unwrap_or_default();
        above.iter().any(|(_, text)| text.trim_start().starts_with("//") && text.contains("eason to sleep"))
    };
    (0..)
        .zip(&all)
        .skip(tests_from)
        .filter(|(_, (_, text))| !text.trim_start().starts_with("//") && text.contains(concat!("sl", "eep(")))
        .filter(|(at, _)| !explained(*at))
        .map(|(_, (line, _))| {
            let what = "a sleep in a test: wait for a condition, or say above it `Reason to sleep: ...`";
            Finding::new(&source.path, *line, what)
        })
        .collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(source.text.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        findings(&[source]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_passes() {
        let text = "//! What it is.\n\nfn f() {\n    let (a, b) = tokio::sync::mpsc::channel(1);\n    let end = Bound::Unbounded;\n}\n";
        assert_eq!(found("crates/x/src/lib.rs", text), Vec::<String>::new());
        let text = concat!(
            "//! What it is.\n\n// Reason to sleep: nothing else tells.\nthread::sl",
            "eep(pause);\n"
        );
        assert_eq!(found("tests/tests/x.rs", text), Vec::<String>::new());
        let text = concat!("//! What it is.\n\nthread::sl", "eep(pause);\n");
        assert_eq!(found("crates/x/src/lib.rs", text), Vec::<String>::new(), "the server may pace itself");
    }

    #[test]
    fn each_way_to_break_a_rule_is_seen() {
        let long_file = "\n".repeat(FILE_LINES_MAX);
        let long_function = format!("    fn f() {{\n{}    }}", "        a();\n".repeat(FUNCTION_LINES_MAX));
        for (path, text, what) in [
            ("a.rs", long_file.as_str(), "lines, more than 600"),
            ("a.rs", &long_function, "a function of"),
            ("a.rs", concat!("#[", "ignore]\nfn f() {}"), "does not run"),
            ("a.rs", concat!("#[", "ignore = \"slow\"]\nfn f() {}"), "does not run"),
            ("a.rs", concat!("    todo", "!();"), "unfinished"),
            ("a.rs", concat!("// TO", "DO later"), "issue"),
            ("a.rs", concat!("// FIX", "ME later"), "issue"),
            ("a.rs", concat!("let q = unbounded", "_channel();"), "limit"),
            ("a.rs", concat!("let q = crossbeam_channel::unbounded", "();"), "limit"),
            ("a.rs", concat!("let q = unbounded", "::<u8>();"), "limit"),
            ("a.rs", concat!("let q = mpsc::channel", "();"), "limit"),
            ("a.rs", concat!("let q = mpsc::channel", "::<(u8, u8)>();"), "limit"),
            (
                "a.rs",
                concat!("#[cfg(test)]\nmod tests {\n    thread::sl", "eep(x);\n}"),
                "wait for a condition",
            ),
            ("crates/a/src/tests.rs", concat!("thread::sl", "eep(x);"), "wait for a condition"),
            ("tests/a.rs", concat!("tokio::time::sl", "eep(x).await;"), "wait for a condition"),
        ] {
            let found = found(path, &format!("//! What it is.\n{text}\n"));
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        }
        assert_eq!(found("a.rs", "use std::fs;\n").len(), 1);
    }
}
