//! `doctor`: looks at everything that can be seen from here and says what is not as it should be.
//!
//! INVARIANT: no key, no value, no password and no token is in what it says; it changes nothing.

mod checks;
mod facts;

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::endpoint::endpoints;
use crate::failure::{Done, Failure, exit};
use crate::output::{Fields, Output, Shown, Table};
use crate::session::Session;

use facts::Facts;

/// The width of lines.
const COLUMNS: usize = 80;

#[derive(Debug, Args)]
#[command(
    after_help = "Looked at: whether members answer and how fast, versions, who leads, how long the log's syncs and the ways \
                  between members take, clocks, quota, alarms, certificates, files, and the configuration as far as it \
                  shows. The exit status is 1 when something is bad.\n\nExamples:\n  kvorumctl doctor\n  kvorumctl \
                  doctor -w json > doctor.json"
)]
pub(crate) struct Doctor {
    /// Only the endpoints that were given, not all members.
    #[arg(long)]
    given_only: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Fine,
    Note,
    Warning,
    Bad,
}

/// What was found in one respect.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// What it is about: `disk`, `clock`, ...
    area: &'static str,
    /// The member, or nothing where it is about all.
    member: String,
    text: String,
    hint: Option<&'static str>,
}

/// Everything that was found.
struct Diagnosis {
    findings: Vec<Finding>,
    facts: Facts,
}

impl Doctor {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let given: Vec<_> = session.client.endpoints().cloned().collect();
        let asked = if self.given_only { Ok(given.clone()) } else { endpoints(session, true).await };
        let mut findings = Vec::new();
        let places = match asked {
            Ok(places) if !places.is_empty() => places,
            Ok(_) => given,
            Err(failure) => {
                let text = failure.text.unwrap_or_default();
                findings.push(Finding {
                    level: Level::Bad,
                    area: "members",
                    member: String::new(),
                    text: format!("the list of members cannot be had: {text}"),
                    hint: Some("more than half of the members must run and be reachable from here"),
                });
                given
            }
        };
        let facts = Facts::gather(session, &places).await;
        findings.extend(checks::judge(&facts, session));
        findings.sort_by(|one, next| next.level.cmp(&one.level).then_with(|| one.area.cmp(next.area)));
        let diagnosis = Diagnosis { findings, facts };
        session.show(&diagnosis)?;
        match diagnosis.verdict() {
            Level::Bad => Err(Failure::silent(exit::ERROR)),
            _ => Ok(()),
        }
    }
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl Diagnosis {
    fn verdict(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Fine)
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// Lines of a terminal's usual width, those after the first one as far in as the words of that.
fn wrapped(begin: &str, words: &str) -> String {
    let (mut lines, mut width) = (begin.to_owned(), begin.len());
    for (at, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && width + 1 + length > COLUMNS {
            lines.push('\n');
            lines.push_str(&" ".repeat(begin.len()));
            width = begin.len();
        } else if at > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines + "\n"
}

impl Shown for Diagnosis {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let mut text = String::new();
        for Finding { level, area, member, text: what, hint } in &self.findings {
            let member = if member.is_empty() { String::new() } else { format!("{member}: ") };
            let begin = format!("{:<8} {area:<9} ", level.word());
            text += &wrapped(&begin, &format!("{member}{what}"));
            if let Some(hint) = hint.filter(|_| *level > Level::Note) {
                text += &wrapped(&" ".repeat(begin.len()), &format!("hint: {hint}"));
            }
        }
        let _ = writeln!(
            text,
            "\n{} bad, {} warnings, {} fine",
            self.count(Level::Bad),
            self.count(Level::Warning),
            self.count(Level::Fine) + self.count(Level::Note)
        );
        text.into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "level": finding.level.word(),
                "area": finding.area,
                "member": finding.member,
                "text": finding.text,
                "hint": finding.hint,
            })
        };
        json!({
            "verdict": self.verdict().word(),
            "findings": self.findings.iter().map(finding).collect::<Value>(),
            "members": self.facts.json(),
        })
    }

    fn lines(&self, output: Output) -> Vec<Value> {
        self.json(output)["findings"].as_array().cloned().unwrap_or_default()
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.quoted("Verdict", self.verdict().word().as_bytes());
        for finding in &self.findings {
            fields.gap();
            fields.quoted("Level", finding.level.word().as_bytes());
            fields.quoted("Area", finding.area.as_bytes());
            fields.quoted("Member", finding.member.as_bytes());
            fields.quoted("Text", finding.text.as_bytes());
        }
        fields
    }

    fn table(&self, _output: Output) -> Option<Table> {
        let mut table = Table::new(&["level", "area", "member", "finding"]);
        for finding in &self.findings {
            let level = finding.level.word().to_owned();
            table.row(vec![level, finding.area.to_owned(), finding.member.clone(), finding.text.clone()]);
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_words_go_to_the_next_line() {
        let words = "a ".repeat(40);
        let lines = super::wrapped("warning  disk      ", words.trim_end());
        assert!(
            lines.lines().all(|line| line.len() <= super::COLUMNS) && lines.lines().count() == 2,
            "{lines}"
        );
        assert_eq!(super::wrapped("x ", "one two"), "x one two\n");
    }
}
