//! Help, the manual and completions: all verbs in them, within the width of a terminal, without colour where nobody sees it.

use anyhow::{Context, ensure};

use crate::{run_with, stderr, stdout};

#[test]
fn help_fits_a_terminal_and_has_every_verb() -> anyhow::Result<()> {
    let help = stdout(&run_with(&["--help"], &[])?);
    ensure!(help.contains("The cluster:") && help.contains("Examples:") && !help.contains("More:"), "{help}");
    ensure!(help.lines().all(|line| line.chars().count() <= 80) && !help.contains('\u{1b}'), "{help}");
    let folder = tempfile::tempdir()?;
    let pages = folder.path().join("man1");
    let made = run_with(&["man", "--dir", &pages.display().to_string()], &[])?;
    ensure!(made.status.success(), "{made:?}");
    let verbs =
        help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with("kvorumctl"));
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split(' ').next()).collect();
    ensure!(verbs.len() >= 33, "{verbs:?}");
    let script = stdout(&run_with(&["completion", "bash"], &[])?);
    for verb in &verbs {
        let page = std::fs::read_to_string(pages.join(format!("kvorumctl-{verb}.1")))
            .with_context(|| (*verb).to_owned())?;
        ensure!(page.contains(".SH SYNOPSIS") || page.contains(".SH NAME"), "{verb}");
        ensure!(script.contains(verb), "{verb} is not completed");
        let one = stdout(&run_with(&[verb, "--help"], &[("COLUMNS", "80")])?);
        ensure!(one.contains("Usage: kvorumctl") && !one.contains('\u{1b}'), "{verb}: {one}");
    }
    ensure!(
        pages.join("kvorumctl-snapshot-save.1").is_file() && pages.join("kvorumctl.1").is_file(),
        "verbs of verbs"
    );
    let options = stdout(&run_with(&["options"], &[])?);
    ensure!(options.contains("--endpoints") && options.contains("--auth-jwt-token"), "{options}");
    Ok(())
}

#[test]
fn a_wrong_word_gets_a_hint() -> anyhow::Result<()> {
    let wrong = run_with(&["snapshto"], &[])?;
    ensure!(wrong.status.code() == Some(1) && stderr(&wrong).contains("hint: "), "{wrong:?}");
    ensure!(!stderr(&wrong).contains('\u{1b}'), "no colour where no terminal is");
    let twice = run_with(&["--hex", "--command-timeout=1s", "--command-timeout=2s", "version"], &[])?;
    ensure!(twice.status.success(), "the last one counts, as in etcdctl: {twice:?}");
    Ok(())
}
