//! `context`: flags under a name.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::ensure;

use crate::{House, NOBODY, run_with, stderr, stdout};

#[test]
fn a_context_stands_for_flags_that_are_not_given() -> anyhow::Result<()> {
    let house = House::start()?;
    let folder = tempfile::tempdir()?;
    let home = folder.path().display().to_string();
    let with = |words: &[&str], more: &[(&str, &str)]| {
        let variables: Vec<(&str, &str)> =
            [("HOME", home.as_str())].into_iter().chain(more.iter().copied()).collect();
        run_with(words, &variables)
    };
    let at = |words: &[&str]| with(words, &[]);
    let (here, dead) = (format!("--endpoints={}", house.url()), format!("--endpoints={NOBODY}"));
    let added = at(&[
        "context",
        "add",
        "here",
        &here,
        "--user=ana:secret",
        "--command-timeout=20s",
        "--cacert=ca.crt",
    ])?;
    ensure!(added.status.success() && stdout(&added) == "Context here added\n", "{added:?}");
    at(&["context", "add", "dead", &dead, "--command-timeout=1s"])?;
    let file = folder.path().join(".config/kvorumctl/contexts.json");
    ensure!(fs::metadata(&file)?.mode() & 0o777 == 0o600, "only for its owner");
    ensure!(fs::read_to_string(&file)?.contains("secret"), "the password is kept, or nobody could use it");

    let shown = at(&["context", "list"])?;
    ensure!(!stdout(&shown).contains("secret") && stdout(&shown).contains("--user=ana"), "{shown:?}");
    ensure!(
        stdout(&shown).contains(&format!("--cacert={}", std::env::current_dir()?.join("ca.crt").display())),
        "{shown:?}"
    );
    let json = stdout(&at(&["context", "show", "here", "-w", "json"])?);
    ensure!(!json.contains("secret") && json.contains("\"endpoints\""), "{json}");

    // None is in use: 127.0.0.1:2379 would be asked. Then one is.
    ensure!(stdout(&at(&["context", "use", "here"])?).contains("used from now on"), "it is said");
    ensure!(at(&["put", "context/a", "1"])?.status.success(), "the context's endpoints are asked");
    ensure!(stdout(&at(&["get", "context/a"])?) == "context/a\n1\n", "and answer");
    let named = at(&["--context=dead", "get", "context/a"])?;
    ensure!(named.status.code() == Some(1) && stderr(&named).contains(NOBODY), "another one once: {named:?}");

    // Flags and variables are stronger; the password does not go elsewhere with them.
    let elsewhere = at(&[&dead, "--command-timeout=1s", "get", "context/a"])?;
    ensure!(!elsewhere.status.success() && stderr(&elsewhere).contains(NOBODY), "{elsewhere:?}");
    let variable = with(&["--command-timeout=1s", "get", "context/a"], &[("ETCDCTL_ENDPOINTS", NOBODY)])?;
    ensure!(!variable.status.success() && stderr(&variable).contains(NOBODY), "{variable:?}");
    let mixed = at(&["--context=dead", &here, "--command-timeout=20s", "get", "context/a"])?;
    ensure!(stdout(&mixed) == "context/a\n1\n", "a flag is stronger than a context that is named: {mixed:?}");

    let unknown = at(&["--context=nope", "get", "context/a"])?;
    ensure!(
        unknown.status.code() == Some(128) && stderr(&unknown).contains("known are: dead, here"),
        "{unknown:?}"
    );
    ensure!(at(&["context", "remove", "here"])?.status.success(), "it goes");
    let gone = at(&["context", "use", "here"])?;
    ensure!(gone.status.code() == Some(128), "and cannot be used: {gone:?}");
    let empty = at(&["context", "add", "nothing"])?;
    ensure!(empty.status.code() == Some(128), "a context keeps something: {empty:?}");
    house.done()
}
