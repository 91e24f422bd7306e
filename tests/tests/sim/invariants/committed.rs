//! Nothing committed is lost: what one member has as committed at an index, all have there, for ever; a leader that
//! is confirmed has all of it; and an answer belongs to the command that was asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use command::{Command, Outcome};
use consensus::Change;

use super::{Verdict, Violation, require};

const NAME: &str = "committed";

/// An entry that somebody had as committed.
pub(crate) struct Entry {
    /// Its term.
    pub(crate) term: u64,
    /// Its bytes.
    pub(crate) data: Bytes,
    /// The change that it asks for.
    pub(crate) change: Option<Change>,
    /// Its commands.
    pub(crate) commands: Vec<Command>,
    /// What they did, once somebody has applied them.
    pub(crate) outcomes: Option<Vec<Outcome>>,
    place: usize,
}

/// The log on which everybody agrees.
#[derive(Default)]
pub(crate) struct Committed {
    entries: BTreeMap<u64, Entry>,
}

impl Committed {
    /// A member got this entry as committed.
    pub(crate) fn commits(&mut self, place: usize, entry: &consensus::Committed<u64>) -> Verdict {
        let (index, term) = (entry.index.0, entry.term.0);
        if let Some(first) = self.entries.get(&index) {
            let same = first.term == term && first.data == entry.data && first.change == entry.change;
            return require(NAME, same, || {
                format!(
                    "index {index} is committed with term {} at member {}, and with term {term} at member {place}{}",
                    first.term,
                    first.place,
                    if first.term == term { ", with other bytes" } else { "" }
                )
            });
        }
        let commands = command::decode_run(entry.data.clone())
            .map_err(|error| Violation::new(NAME, format!("entry {index} cannot be read: {error}")))?;
        let data = entry.data.clone();
        let change = entry.change;
        self.entries.insert(index, Entry { term, data, change, commands, outcomes: None, place });
        Ok(())
    }

    /// A member leads in a term: it holds the newest entry that was committed in any term before.
    pub(crate) fn leads(
        &self,
        place: usize,
        term: u64,
        first: u64,
        term_at: impl Fn(u64) -> Option<u64>,
    ) -> Verdict {
        let older = self.entries.iter().rev().find(|(_, entry)| entry.term < term);
        let Some((index, entry)) = older.filter(|(index, _)| **index >= first) else { return Ok(()) };
        let found = term_at(*index);
        require(NAME, found == Some(entry.term), || {
            format!(
                "member {place} leads and has term {found:?} at index {index}, where term {} is committed",
                entry.term
            )
        })
    }

    /// A command was answered: it stands in the entry at its place.
    pub(crate) fn answers(&self, index: u64, number: usize, wanted: &Bytes) -> Verdict {
        let entry = self.entries.get(&index);
        let stands = entry.and_then(|entry| entry.commands.get(number)).map(Command::encode);
        require(NAME, stands.as_ref() == Some(wanted), || {
            format!("an answer was given for command {number} of entry {index}, which is another command")
        })
    }

    /// The entries, in order.
    pub(crate) fn entries(&self) -> &BTreeMap<u64, Entry> {
        &self.entries
    }

    /// An entry, for its outcomes to be put in.
    pub(crate) fn entry_mut(&mut self, index: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&index)
    }

    /// The newest index.
    pub(crate) fn last(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| *index)
    }
}
