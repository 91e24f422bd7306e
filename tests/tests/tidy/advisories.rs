//! The table of advisories in docs/SECURITY.md names tests, and each of them is there.

use std::collections::BTreeSet;

use tests::{Table, table_after};

use crate::tree::{Finding, Source};

const DOCUMENT: &str = "docs/SECURITY.md";

/// The fewest advisories that the table has; it only grows.
const ADVISORIES_MIN: usize = 20;

/// Every test that is named and nowhere, and every row that names none.
pub(crate) fn findings(document: &str, sources: &[Source]) -> Vec<Finding> {
    let Some(Table { rows }) = table_after(document, "## Advisories") else {
        return vec![Finding::new(DOCUMENT, 0, "has no table below `## Advisories`")];
    };
    let tests: BTreeSet<&str> = sources.iter().flat_map(|source| functions(&source.text)).collect();
    let mut findings = Vec::new();
    if rows.len() < ADVISORIES_MIN {
        findings.push(Finding::new(DOCUMENT, 0, format!("has {} advisories; there were more", rows.len())));
    }
    for row in &rows {
        let what = row.first().map_or("", String::as_str);
        let named: Vec<&str> =
            row.last().into_iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        if named.is_empty() {
            findings.push(Finding::new(DOCUMENT, 0, format!("{what} names no test")));
        }
        let missing = named.iter().filter(|name| !tests.contains(*name));
        findings.extend(
            missing.map(|name| Finding::new(DOCUMENT, 0, format!("{what}: there is no test {name}"))),
        );
    }
    findings
}

/// The names of all functions.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let after =
        text.lines().filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
    after.filter_map(|rest| rest.split(['(', '<']).next())
}

#[test]
fn a_test_that_is_not_there_is_seen() {
    let row = |tests: &str| {
        format!("## Advisories\n\n| a | b | c | tests |\n|---|---|---|---|\n| A-1 | x | y | {tests} |\n")
    };
    let source = Source { path: "a.rs".into(), text: "    async fn good() {}\nfn better<T>() {}\n".into() };
    let found = |tests: &str| {
        let findings = findings(&row(tests), std::slice::from_ref(&source));
        // The first is that there are so few.
        findings.len() - 1
    };
    assert_eq!(found("`good`, `better`"), 0);
    assert_eq!(found("`good`, `worse`"), 1);
    assert_eq!(found("none"), 1);
}
