//! `keys stat`: how many keys there are below which prefix, how large they are and how often they were written.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use proto::mvccpb::KeyValue;
use serde_json::{Value, json};

use super::pages::Pages;
use super::progress;
use super::shown::open_range;
use super::signal::unless_stopped;
use crate::command_line::number;
use crate::failure::Done;
use crate::go;
use crate::output::{Fields, Output, Shown, Table};
use crate::session::Session;

/// Groups beyond this are counted as one.
const GROUPS_MAX: usize = 100_000;
/// What those are called.
const OTHERS: &[u8] = b"(others)";

/// What there is to know of keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Counts keys, bytes and revisions below each prefix.
    Stat(Stat),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every key is read once, at one revision, in pages.\n\nExamples:\n  kvorumctl keys stat\n  kvorumctl keys \
                  stat --prefix /registry/ --depth 2 --limit 20"
)]
pub(crate) struct Stat {
    /// Only keys that begin so.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    prefix: String,
    /// How many parts behind the prefix make a group; 0 is one group.
    #[arg(long, default_value_t = 1, value_name = "PARTS")]
    depth: usize,
    /// What stands between parts.
    #[arg(long, default_value = "/", value_parser = clap::builder::NonEmptyStringValueParser::new(), value_name = "TEXT")]
    separator: String,
    /// The largest ones only; 0 is all.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    limit: usize,
    /// As it was at this revision; 0 is the present one.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION")]
    rev: i64,
}

/// A group, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    keys: u64,
    key_bytes: u64,
    value_bytes: u64,
    /// How often its keys were written since they were made.
    versions: u64,
    leased: u64,
    newest: i64,
}

struct Counted {
    revision: i64,
    all: Count,
    groups: Vec<(Vec<u8>, Count)>,
}

impl Keys {
    pub(crate) async fn run(self, session: &Session) -> Done {
        match self {
            Self::Stat(verb) => {
                let told = || "keys stat was stopped: nothing is shown, and nothing was changed".to_owned();
                unless_stopped(verb.run(session), told).await
            }
        }
    }
}

impl Stat {
    async fn run(self, session: &Session) -> Done {
        let range = open_range(self.prefix.clone().into_bytes().into(), true, false);
        let mut pages = Pages::of(&session.client, range, self.rev, session.patience());
        let (mut groups, mut all) = (BTreeMap::<Vec<u8>, Count>::new(), Count::default());
        let bar = progress::counting("keys");
        while let Some(page) = pages.next().await? {
            bar.inc(page.len() as u64);
            for pair in &page {
                all.add(pair);
                let mut group = self.group(&pair.key);
                if groups.len() >= GROUPS_MAX && !groups.contains_key(group) {
                    group = OTHERS;
                }
                match groups.get_mut(group) {
                    Some(count) => count.add(pair),
                    None => groups.entry(group.to_vec()).or_default().add(pair),
                }
            }
        }
        bar.finish_and_clear();
        let mut groups: Vec<_> = groups.into_iter().collect();
        if self.limit > 0 {
            groups.sort_by_key(|(_, count)| std::cmp::Reverse(count.key_bytes + count.value_bytes));
            groups.truncate(self.limit);
        }
        session.show(&Counted { revision: pages.revision, all, groups })
    }

    /// The first parts of a key, with the separator behind the last of them where something follows.
    fn group<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let separator = self.separator.as_bytes();
        let mut end = self.prefix.len().min(key.len());
        for _ in 0..self.depth {
            let rest = key.get(end..).unwrap_or_default();
            // A separator right behind the prefix begins a part.
            let skipped = usize::from(rest.starts_with(separator)) * separator.len();
            let found = rest
                .get(skipped..)
                .unwrap_or_default()
                .windows(separator.len())
                .position(|part| part == separator);
            match found {
                Some(at) => end += skipped + at + separator.len(),
                None => return key,
            }
        }
        key.get(..end).unwrap_or(key)
    }
}

impl Count {
    fn add(&mut self, pair: &KeyValue) {
        self.keys += 1;
        self.key_bytes += pair.key.len() as u64;
        self.value_bytes += pair.value.len() as u64;
        self.versions += pair.version.unsigned_abs();
        self.leased += u64::from(pair.lease != 0);
        self.newest = self.newest.max(pair.mod_revision);
    }

    fn json(&self) -> Value {
        json!({
            "keys": self.keys,
            "keyBytes": self.key_bytes,
            "valueBytes": self.value_bytes,
            "versions": self.versions,
            "leased": self.leased,
            "newestRevision": self.newest,
        })
    }

    fn cells(&self) -> Vec<String> {
        let sizes = [self.key_bytes, self.value_bytes].map(go::size);
        let [keys, versions, leased] =
            [self.keys, self.versions, self.leased].map(|number| number.to_string());
        let [key_bytes, value_bytes] = sizes;
        vec![keys, key_bytes, value_bytes, versions, leased, self.newest.to_string()]
    }
}

const TITLES: [&str; 7] = ["prefix", "keys", "key bytes", "value bytes", "versions", "leased", "newest rev"];

impl Counted {
    fn rows(&self, output: Output) -> Vec<Vec<String>> {
        let row = |name: String, count: &Count| std::iter::once(name).chain(count.cells()).collect();
        let named = |name: &[u8]| String::from_utf8_lossy(&output.bytes(name)).escape_debug().to_string();
        let groups = self.groups.iter().map(|(name, count)| row(named(name), count));
        groups.chain([row("(all)".to_owned(), &self.all)]).collect()
    }
}

impl Shown for Counted {
    fn simple(&self, output: Output) -> Vec<u8> {
        let rows = self.rows(output);
        let titles = TITLES.map(str::to_owned).to_vec();
        let width = |at: usize| {
            let cells = rows.iter().chain([&titles]).filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(&rows) {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ =
                    if at == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
            }
            text.push('\n');
        }
        text.into_bytes()
    }

    fn json(&self, output: Output) -> Value {
        json!({"revision": self.revision, "all": self.all.json(), "groups": self.lines(output)})
    }

    fn lines(&self, output: Output) -> Vec<Value> {
        let group = |(name, count): &(Vec<u8>, Count)| {
            let mut shown = json!({"prefix": String::from_utf8_lossy(&output.bytes(name))});
            if let (Value::Object(shown), Value::Object(count)) = (&mut shown, count.json()) {
                shown.extend(count);
            }
            shown
        };
        self.groups.iter().map(group).collect()
    }

    fn fields(&self, output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.value("Revision", self.revision);
        for row in self.rows(output) {
            fields.gap();
            for (title, cell) in TITLES.iter().zip(row) {
                fields.quoted(title, cell.as_bytes());
            }
        }
        fields
    }

    fn table(&self, output: Output) -> Option<Table> {
        let mut table = Table::new(&TITLES);
        self.rows(output).into_iter().for_each(|row| table.row(row));
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(prefix: &str, depth: usize) -> Stat {
        Stat { prefix: prefix.to_owned(), depth, separator: "/".to_owned(), limit: 0, rev: 0 }
    }

    #[test]
    fn keys_are_grouped_by_their_parts() {
        let check = |prefix: &str, depth: usize, key: &str, group: &str| {
            assert_eq!(stat(prefix, depth).group(key.as_bytes()), group.as_bytes(), "{prefix} {depth} {key}");
        };
        check("", 1, "/registry/pods/a", "/registry/");
        check("", 2, "/registry/pods/a", "/registry/pods/");
        check("", 1, "a/b", "a/");
        check("", 1, "alone", "alone");
        check("", 0, "a/b", "");
        check("/registry/", 1, "/registry/pods/a", "/registry/pods/");
        check("/registry", 1, "/registry/pods/a", "/registry/pods/");
        check("/registry/pods/a", 1, "/registry/pods/a", "/registry/pods/a");
    }
}
