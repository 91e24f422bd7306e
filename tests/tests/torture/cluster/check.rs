//! Whether a history could have come from one machine that does one thing at a time.
//!
//! Every write makes a revision, and every read says at which revision it saw the store. So the order of all
//! operations is known, for all keys together, and nothing has to be searched: it only has to agree with what
//! clients read, and with the times at which they began and ended. A write whose outcome nobody knows is
//! placed by whoever read its value; one that nobody read may stand for one missing revision.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::history::{Act, Operation, Outcome};

/// What was found in a history that is in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) writes: usize,
    pub(crate) reads: usize,
    pub(crate) unknown: usize,
    /// Of the unknown ones, writes that somebody read.
    pub(crate) turned_up: usize,
}

/// A state of one key: the value, or nothing after a removal; and which operation made it.
#[derive(Clone, Debug)]
struct State<'a> {
    value: Option<&'a str>,
    by: usize,
}

/// States of one key by revision.
type Line<'a> = BTreeMap<i64, State<'a>>;

struct Check<'a> {
    operations: &'a [Operation],
    lines: BTreeMap<usize, Line<'a>>,
    /// Which operation made a revision.
    revisions: BTreeMap<i64, usize>,
    /// Who writes a value.
    writers: BTreeMap<&'a str, usize>,
    /// Values, by key and revision, that were gone at some revision without an acknowledged removal.
    gone: BTreeMap<(usize, i64), i64>,
    turned_up: BTreeSet<usize>,
}

/// Refuses a history that no single machine could have made.
pub(crate) fn check(operations: &[Operation]) -> anyhow::Result<Tally> {
    let mut check = Check {
        operations,
        lines: BTreeMap::new(),
        revisions: BTreeMap::new(),
        writers: BTreeMap::new(),
        gone: BTreeMap::new(),
        turned_up: BTreeSet::new(),
    };
    check.place_acknowledged()?;
    check.place_what_was_read()?;
    check.reads_agree()?;
    check.swaps_agree()?;
    check.removals_suffice()?;
    check.times_agree()?;
    check.revisions_suffice()?;
    Ok(check.tally())
}

impl<'a> Check<'a> {
    fn place_acknowledged(&mut self) -> anyhow::Result<()> {
        for (number, operation) in self.operations.iter().enumerate() {
            let value = match &operation.act {
                Act::Put(value) | Act::Swap(_, value) => Some(value.as_str()),
                Act::Get | Act::Delete => None,
            };
            if let Some(value) = value {
                ensure!(self.writers.insert(value, number).is_none(), "the test writes {value} twice");
            }
            if let Outcome::Written(revision) = operation.outcome {
                self.place(operation.key, revision, State { value, by: number })?;
            }
        }
        Ok(())
    }

    fn place(&mut self, key: usize, revision: i64, state: State<'a>) -> anyhow::Result<()> {
        let by = state.by;
        if let Some(other) = self.revisions.insert(revision, by) {
            bail!("revision {revision} was used twice:\n  {:?}\n  {:?}", self.at(other)?, self.at(by)?);
        }
        self.lines.entry(key).or_default().insert(revision, state);
        Ok(())
    }

    /// Values that were read: each is known, or comes from a write whose outcome nobody was told.
    fn place_what_was_read(&mut self) -> anyhow::Result<()> {
        for operation in self.operations {
            let Outcome::Read(at, Some((value, written))) = &operation.outcome else { continue };
            ensure!(written <= at, "a value from the future: {operation:?}");
            let by = self.writers.get(value.as_str()).copied();
            let by = by.with_context(|| format!("nobody wrote what was read: {operation:?}"))?;
            let writer = self.at(by)?;
            ensure!(writer.key == operation.key, "a value of another key: {operation:?}, {writer:?}");
            ensure!(writer.began <= operation.ended, "read before it was written: {operation:?}, {writer:?}");
            let known = self.lines.get(&operation.key).and_then(|line| line.get(written));
            match (&writer.outcome, known) {
                (_, Some(state)) => {
                    ensure!(state.by == by, "another value at that revision: {operation:?}, {writer:?}");
                }
                (Outcome::Unknown, None) => {
                    ensure!(self.turned_up.insert(by), "written twice: {operation:?}, {writer:?}");
                    let writer_value = match &writer.act {
                        Act::Put(value) | Act::Swap(_, value) => value.as_str(),
                        Act::Get | Act::Delete => bail!("that writes nothing: {writer:?}"),
                    };
                    self.place(operation.key, *written, State { value: Some(writer_value), by })?;
                }
                _ => bail!("written at another revision: {operation:?}, {writer:?}"),
            }
        }
        Ok(())
    }

    /// Every read saw the newest state at its revision.
    fn reads_agree(&mut self) -> anyhow::Result<()> {
        let mut reads: Vec<(i64, &Operation)> = Vec::new();
        for operation in self.operations {
            if let Outcome::Read(at, _) = operation.outcome {
                reads.push((at, operation));
            }
        }
        reads.sort_by_key(|(at, _)| *at);
        for (at, operation) in reads {
            let Outcome::Read(_, seen) = &operation.outcome else { continue };
            self.sees(operation, at, seen.as_ref().map(|(_, written)| *written))?;
        }
        Ok(())
    }

    /// At revision `at` the operation saw a value written at `seen`, or nothing.
    fn sees(&mut self, operation: &Operation, at: i64, seen: Option<i64>) -> anyhow::Result<()> {
        let line = self.lines.get(&operation.key);
        let newest = line.and_then(|line| line.range(..=at).next_back());
        let newest = newest.map(|(written, state)| (*written, state.value.is_some(), state.by));
        match (seen, newest) {
            (Some(seen), Some((written, true, _))) if seen == written => {
                let gone = self.gone.get(&(operation.key, written));
                ensure!(gone.is_none(), "it was gone at {gone:?} and is back: {operation:?}");
            }
            (None, None | Some((_, false, _))) => {}
            (None, Some((written, true, _))) => {
                self.gone.entry((operation.key, written)).or_insert(at);
            }
            (_, newest) => {
                let by = newest.and_then(|(_, _, by)| self.operations.get(by));
                bail!("a stale or impossible read: {operation:?}; newest at that revision: {by:?}");
            }
        }
        Ok(())
    }

    /// A swap that happened found what it expected.
    fn swaps_agree(&mut self) -> anyhow::Result<()> {
        let happened: Vec<(i64, usize)> = self.revisions.iter().map(|(at, by)| (*at, *by)).collect();
        for (revision, by) in happened {
            let operation = self.operations.get(by).context("an operation that was placed")?;
            let Act::Swap(expected, _) = operation.act else { continue };
            self.sees(operation, revision - 1, (expected != 0).then_some(expected))?;
        }
        Ok(())
    }

    /// What is gone without an acknowledged removal was removed by one whose outcome nobody knows.
    fn removals_suffice(&self) -> anyhow::Result<()> {
        for key in self.lines.keys() {
            let gone = self.gone.keys().filter(|(of, _)| of == key).count();
            let unknown = self
                .operations
                .iter()
                .filter(|one| one.key == *key && one.act == Act::Delete && one.outcome == Outcome::Unknown);
            let unknown = unknown.count();
            ensure!(gone <= unknown, "key {key} lost {gone} values, but only {unknown} removals may be why");
        }
        Ok(())
    }

    /// What began after another had ended does not come before it.
    fn times_agree(&self) -> anyhow::Result<()> {
        let mut begins: Vec<(Duration, i64, bool, usize)> = Vec::new();
        let mut ends: Vec<(Duration, i64, usize)> = Vec::new();
        for (number, operation) in self.operations.iter().enumerate() {
            match operation.outcome {
                Outcome::Written(at) => {
                    begins.push((operation.began, at, true, number));
                    ends.push((operation.ended, at, number));
                }
                Outcome::Read(at, _) => {
                    begins.push((operation.began, at, false, number));
                    ends.push((operation.ended, at, number));
                }
                Outcome::Unknown => {}
            }
        }
        for (revision, by) in &self.revisions {
            if self.turned_up.contains(by) {
                begins.push((self.at(*by)?.began, *revision, true, *by));
            }
        }
        begins.sort_unstable();
        ends.sort_unstable();
        let mut ended = ends.into_iter().peekable();
        let mut newest: Option<(i64, usize)> = None;
        for (began, at, is_write, number) in begins {
            while let Some((_, at, by)) = ended.next_if(|(end, _, _)| *end < began) {
                newest = newest.max(Some((at, by)));
            }
            let Some((before, by)) = newest else { continue };
            let in_order = if is_write { before < at } else { before <= at };
            ensure!(in_order, "out of order:\n  {:?}\n  and later\n  {:?}", self.at(by)?, self.at(number)?);
        }
        Ok(())
    }

    /// Revisions that nobody knows of are at most as many as writes of which nobody knows.
    fn revisions_suffice(&self) -> anyhow::Result<()> {
        let Some((last, _)) = self.revisions.last_key_value() else { return Ok(()) };
        let known = i64::try_from(self.revisions.len()).context("so many revisions")?;
        let missing = last - 1 - known;
        let unknown = self.operations.iter().filter(|one| one.outcome == Outcome::Unknown);
        let unknown = unknown.filter(|one| one.act != Act::Get).count() - self.turned_up.len();
        ensure!(
            usize::try_from(missing).is_ok_and(|missing| missing <= unknown),
            "{missing} revisions that nobody made, and only {unknown} writes may have made them"
        );
        Ok(())
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally { turned_up: self.turned_up.len(), ..Tally::default() };
        for operation in self.operations {
            match operation.outcome {
                Outcome::Written(_) => tally.writes += 1,
                Outcome::Read(..) => tally.reads += 1,
                Outcome::Unknown => tally.unknown += 1,
            }
        }
        tally
    }

    fn at(&self, number: usize) -> anyhow::Result<&'a Operation> {
        self.operations.get(number).context("an operation of the history")
    }
}
