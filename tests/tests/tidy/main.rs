//! The rules of the house that no compiler knows, checked on every manifest and source file of the tree.
//!
//! Each rule is a function from text to findings, and each is shown a bad sample, so that a rule that sees
//! nothing any more fails too.

mod advisories;
mod floors;
mod manifests;
mod sources;
mod tree;

use tree::{Finding, Tree};

fn check(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn tree() -> Tree {
    Tree::read(&::tests::root()).expect("the work tree can be read")
}

#[test]
fn crates_use_only_lower_floors_and_the_table_names_them_all() {
    let document =
        std::fs::read_to_string(::tests::root().join("docs/ARCHITECTURE.md")).expect("it can be read");
    let house = floors::House::read(&document).expect("the table of crates can be read");
    check(&house.findings(&tree().packages));
}

#[test]
fn manifests_inherit_what_the_workspace_says() {
    check(&manifests::findings(&tree().packages));
}

#[test]
fn sources_keep_the_rules() {
    check(&sources::findings(&tree().sources));
}

#[test]
fn every_advisory_has_tests_that_are_there() {
    let document = std::fs::read_to_string(::tests::root().join("docs/SECURITY.md")).expect("it can be read");
    check(&advisories::findings(&document, &tree().sources));
}
