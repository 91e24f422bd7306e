//! The data files under `tests/etcdctl/`: what is typed into etcdctl, in order, written to be read.
//!
//! A line that begins with `#` is a remark. The other lines:
//!
//! ```text
//! servers 3                       how many members; `servers 1 and a mirror` starts another one beside it
//! > put foo "two words"           a command, run to its end
//! | a line                        a line of its input
//! ~> endpoint health              run again and again until it succeeds
//! %> check perf                   compared without its numbers and verdicts, which are the machine's
//! a> watch foo                    starts and stays; it is called `a`
//! a| a line                       a line of its input, now
//! a? some words                   waits until it has printed them, after what was waited for before
//! a^                              SIGINT, then waits for its end
//! a.                              closes its input, then waits for its end
//! ```
//!
//! Files whose name begins with `v2-` are for `ETCDCTL_API=2`, of 3.4.23 alone.
//!
//! Before any of them `3.5:` or `3.4:` says that only that version's etcdctl has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Once, and compared.
    Once,
    /// Until its exit code is zero.
    Until,
    /// Once, and compared without numbers and verdicts.
    Loosely,
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A command, and its input.
    Run { manner: Manner, command: String, input: String },
    /// A stream begins.
    Begin { stream: char, command: String },
    /// A line for a stream.
    Type { stream: char, text: String },
    /// Waits for words of a stream.
    Expect { stream: char, text: String },
    /// SIGINT to a stream.
    Interrupt { stream: char },
    /// The end of a stream's input.
    Close { stream: char },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where it is written.
    pub(crate) line: usize,
    /// The only version of etcdctl that it is for.
    pub(crate) only: Option<String>,
    /// What it asks for.
    pub(crate) act: Act,
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// The name of its file without the ending.
    pub(crate) name: String,
    /// Members of the cluster.
    pub(crate) servers: usize,
    /// Whether there is another server beside the cluster.
    pub(crate) mirror: bool,
    /// Its lines.
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// Whether it is for the older interface: its name says so.
    pub(crate) fn is_v2(&self) -> bool {
        self.name.starts_with("v2-")
    }
}

/// Every script there is, by name.
pub(crate) fn all(folder: &Path) -> anyhow::Result<Vec<Script>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> anyhow::Result<Script> {
    let name = file.file_stem().context("a file name")?.to_string_lossy().into_owned();
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    parse(&name, &text)
}

pub(crate) fn parse(name: &str, text: &str) -> anyhow::Result<Script> {
    let mut script = Script { name: name.to_owned(), servers: 1, mirror: false, steps: Vec::new() };
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.starts_with('#') && !text.is_empty())
    {
        take(&mut script, line, text).with_context(|| format!("{name}.txt:{line}"))?;
    }
    Ok(script)
}

fn take(script: &mut Script, line: usize, text: &str) -> anyhow::Result<()> {
    if let Some(servers) = text.strip_prefix("servers ") {
        let (servers, mirror) =
            servers.strip_suffix(" and a mirror").map_or((servers, false), |servers| (servers, true));
        (script.servers, script.mirror) = (servers.parse().context("a number of servers")?, mirror);
        return Ok(());
    }
    if let Some(more) = text.strip_prefix('|') {
        let last = script.steps.last_mut().context("input before a command")?;
        let Act::Run { input, .. } = &mut last.act else { bail!("input after what takes none") };
        input.push_str(more.strip_prefix(' ').unwrap_or(more));
        input.push('\n');
        return Ok(());
    }
    let version = text.split_once(": ").filter(|(version, _)| ["3.4", "3.5"].contains(version));
    let (only, text) =
        version.map_or((None, text), |(version, text)| (Some(version.to_owned()), text.trim_start()));
    script.steps.push(Step { line, only, act: act(text)? });
    Ok(())
}

fn act(text: &str) -> anyhow::Result<Act> {
    for (sign, manner) in [("> ", Manner::Once), ("~> ", Manner::Until), ("%> ", Manner::Loosely)] {
        if let Some(command) = text.strip_prefix(sign) {
            return Ok(Act::Run { manner, command: command.to_owned(), input: String::new() });
        }
    }
    let mut chars = text.chars();
    let (Some(stream), Some(sign)) = (chars.next(), chars.next()) else { bail!("`{text}` is no step") };
    ensure!(stream.is_ascii_lowercase(), "`{stream}` cannot be the name of a stream");
    let rest = chars.as_str();
    let text = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
    Ok(match sign {
        '>' => Act::Begin { stream, command: text },
        '|' => Act::Type { stream, text },
        '?' => Act::Expect { stream, text },
        '^' => Act::Interrupt { stream },
        '.' => Act::Close { stream },
        _ => bail!("`{sign}` says nothing about a stream"),
    })
}

/// The words of a command: quotes keep spaces together, and between `"` escapes are not read by anybody.
pub(crate) fn words(command: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for char in command.chars() {
        match (char, quote) {
            (' ', None) => words.extend(word.take()),
            ('"' | '\'', None) => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (char, Some(open)) if char == open => quote = None,
            (char, _) => word.get_or_insert_default().push(char),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed: {command}");
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_its_reader_would() {
        let text = "# remark\nservers 3\n> txn -i\n| a\n|\n3.5: a> watch foo\na? foo\na^\n";
        let script = parse("s", text).expect("well-formed");
        assert_eq!((script.servers, script.mirror, script.steps.len()), (3, false, 4));
        let Act::Run { input, .. } = &script.steps[0].act else { panic!("a command") };
        assert_eq!(input, "a\n\n");
        assert_eq!(script.steps[1].only.as_deref(), Some("3.5"));
        assert_eq!(script.steps[2].act, Act::Expect { stream: 'a', text: "foo".to_owned() });
        assert!(parse("s", "nonsense").is_err() && parse("s", "| x").is_err());
        assert_eq!(words(r#"put a "b c" '' x"#).expect("closed"), ["put", "a", "b c", "", "x"]);
    }
}
