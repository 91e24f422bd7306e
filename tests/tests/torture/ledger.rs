//! What was acknowledged, what was under way, and whether what is found after a restart agrees.
//!
//! Each key belongs to one writer, which does one thing at a time: after a kill it is as it was last
//! acknowledged, or as the one write under way wanted it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

/// A value and the revision (in v2 the index) at which it was written; `None` for a key that is not there.
pub(crate) type State = Option<(String, u64)>;

/// One write that was sent and not acknowledged: every key it touches with the value it wants, or `None` to
/// remove it. All of them happen, or none.
pub(crate) type UnderWay = Vec<(String, Option<String>)>;

/// What a restarted server holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The revision of the v3 keyspace.
    pub(crate) revision: u64,
    /// The index of the v2 keyspace.
    pub(crate) v2_index: u64,
    /// Every key of both, those of v2 with a leading slash.
    pub(crate) keys: BTreeMap<String, (String, u64)>,
}

/// What the clients know.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acknowledged: BTreeMap<String, State>,
    under_way: Vec<UnderWay>,
    revision_max: u64,
    v2_index_max: u64,
}

impl Ledger {
    /// The largest revision that any client saw.
    pub(crate) fn revision_max(&self) -> u64 {
        self.revision_max
    }

    /// What a client knows of one of its keys.
    pub(crate) fn state(&self, key: &str) -> State {
        self.acknowledged.get(key).cloned().flatten()
    }

    /// A client saw this revision of the v3 keyspace.
    pub(crate) fn saw(&mut self, revision: u64) {
        self.revision_max = self.revision_max.max(revision);
    }

    /// A write was acknowledged at `at`. Refused when that revision was used before.
    pub(crate) fn acknowledge(&mut self, write: UnderWay, at: u64) -> anyhow::Result<()> {
        for (key, value) in write {
            let before = self.acknowledged.get(&key).and_then(|state| state.as_ref().map(|(_, at)| *at));
            ensure!(
                before.is_none_or(|before| before < at),
                "{key} was written at {before:?}, and again at {at}"
            );
            if key.starts_with('/') {
                self.v2_index_max = self.v2_index_max.max(at);
            } else {
                self.saw(at);
            }
            self.acknowledged.insert(key, value.map(|value| (value, at)));
        }
        Ok(())
    }

    /// A write was sent, and the process died before it answered.
    pub(crate) fn leave_under_way(&mut self, write: UnderWay) {
        self.under_way.push(write);
    }

    /// Compares with what is found, and takes over what was under way and turns out to have happened.
    pub(crate) fn settle(&mut self, found: &Found) -> anyhow::Result<()> {
        ensure!(
            found.revision >= self.revision_max,
            "revision {} after the restart, but {} was seen before",
            found.revision,
            self.revision_max
        );
        ensure!(
            found.v2_index >= self.v2_index_max,
            "v2 index {} after the restart, but {} was seen before",
            found.v2_index,
            self.v2_index_max
        );
        for write in std::mem::take(&mut self.under_way) {
            self.settle_write(&write, found)?;
        }
        for (key, state) in &self.acknowledged {
            let now = found.keys.get(key);
            ensure!(now == state.as_ref(), "{key} was acknowledged as {state:?}, and is now {now:?}");
        }
        for (key, (value, at)) in &found.keys {
            ensure!(self.acknowledged.contains_key(key), "{key} = {value} at {at}: nobody wrote that");
        }
        self.revision_max = found.revision;
        self.v2_index_max = found.v2_index;
        Ok(())
    }

    fn settle_write(&mut self, write: &UnderWay, found: &Found) -> anyhow::Result<()> {
        let unchanged = write.iter().all(|(key, _)| found.keys.get(key) == self.state(key).as_ref());
        if unchanged {
            return Ok(());
        }
        let mut at = None;
        for (key, wanted) in write {
            let now = found.keys.get(key);
            let before = self.state(key);
            match (now, wanted) {
                (Some((value, revision)), Some(wanted)) if value == wanted => {
                    ensure!(at.is_none_or(|at| at == *revision), "{write:?} was done at two revisions");
                    let limit = if key.starts_with('/') { self.v2_index_max } else { self.revision_max };
                    let fresh = before.as_ref().is_none_or(|(_, before)| before < revision);
                    ensure!(
                        fresh,
                        "{key} = {value} at {revision}, a revision used before (seen up to {limit})"
                    );
                    at = Some(*revision);
                }
                (None, None) => {}
                _ => bail!("{write:?} was done in part: {key} was {before:?} and is {now:?}"),
            }
        }
        for (key, _) in write {
            let state = found.keys.get(key).cloned();
            self.acknowledged.insert(key.clone(), state);
        }
        Ok(())
    }
}

/// Reads a number that a server wrote.
pub(crate) fn number(text: Option<&str>, what: &str) -> anyhow::Result<u64> {
    let text = text.with_context(|| format!("{what} is missing"))?;
    text.parse().with_context(|| format!("{what} is no number: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(keys: &[(&str, &str, u64)]) -> Found {
        let keys =
            keys.iter().map(|(key, value, at)| ((*key).to_owned(), ((*value).to_owned(), *at))).collect();
        Found { revision: 9, v2_index: 9, keys }
    }

    fn write(keys: &[(&str, Option<&str>)]) -> UnderWay {
        keys.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.acknowledge(write(&[("a", Some("1"))]), 5).expect("fresh");
        ledger.acknowledge(write(&[("/b", Some("1"))]), 4).expect("fresh");
        ledger
    }

    #[test]
    fn what_may_have_happened_is_accepted() {
        let same = [("a", "1", 5), ("/b", "1", 4)];
        ledger().settle(&found(&same)).expect("nothing changed");
        let mut twice = ledger();
        twice.leave_under_way(write(&[("a", Some("2")), ("c", Some("2"))]));
        twice.settle(&found(&[("a", "2", 8), ("c", "2", 8), ("/b", "1", 4)])).expect("it happened");
        let mut removed = ledger();
        removed.leave_under_way(write(&[("a", None)]));
        removed.settle(&found(&[("/b", "1", 4)])).expect("it happened");
    }

    #[test]
    fn each_kind_of_loss_is_seen() {
        let loses = |found: &Found| ledger().settle(found).is_err();
        assert!(loses(&found(&[("/b", "1", 4)])), "a key is gone");
        assert!(loses(&found(&[("a", "0", 3), ("/b", "1", 4)])), "an old value is back");
        assert!(loses(&found(&[("a", "1", 6), ("/b", "1", 4)])), "the revision changed");
        assert!(loses(&found(&[("a", "1", 5)])), "a v2 key is gone");
        assert!(loses(&found(&[("a", "1", 5), ("/b", "1", 4), ("x", "1", 7)])), "a key from nowhere");
        let low = Found { revision: 4, ..found(&[("a", "1", 5), ("/b", "1", 4)]) };
        assert!(loses(&low), "the revision went back");
        let mut half = ledger();
        half.leave_under_way(write(&[("a", Some("2")), ("c", Some("2"))]));
        assert!(half.settle(&found(&[("a", "2", 8), ("/b", "1", 4)])).is_err(), "half a transaction");
        assert!(ledger().acknowledge(write(&[("a", Some("2"))]), 5).is_err(), "a revision used twice");
    }
}
