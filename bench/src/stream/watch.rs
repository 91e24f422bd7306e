//! Crowds of watches: laid out over connections and streams, created, and every event looked at.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::link::{Link, Progress, Talk};
use crate::wire::duplex::{Duplex, StreamNumber};
use crate::wire::{Broken, protobuf as pb};
use crate::workload::stamp_ns;

pub(super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// Time for all watches to be created.
const CREATE_MAX: Duration = Duration::from_mins(2);
/// Watches of one stream that are asked for and not yet created. clientv3 asks for one after the other.
const ASKED_MAX: usize = 1000;
/// A delete in an event.
const DELETE: u64 = 1;

/// How watches are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Connections.
    pub(super) links: u64,
    /// Streams on each connection.
    pub(super) streams: u64,
    /// Watches on each stream.
    pub(super) watches: u64,
}

impl Crowd {
    /// How many watches there are.
    pub(super) fn count(self) -> u64 {
        self.links * self.streams * self.watches
    }
}

/// What the watches are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Watch number `n` is for key `n` modulo this; zero for one watch of all keys from `l` to `m`.
    pub(super) keys: u64,
    /// The revision that they start at; zero for now.
    pub(super) start_revision: u64,
}

/// One watch and what it has seen.
struct Watch {
    key: Vec<u8>,
    is_range: bool,
    last_revision: u64,
    last_key: Vec<u8>,
}

/// The watches of one connection.
struct Ears {
    progress: Rc<Progress>,
    streams: Vec<Vec<Watch>>,
    start_revision: u64,
    /// Of each stream: how many watches were asked for, and how many are created.
    asked: Vec<usize>,
    created: Vec<usize>,
}

/// The key with this number, as the load generator writes it with eight bytes.
pub(super) fn key(letter: char, number: u64) -> Vec<u8> {
    format!("{letter}{number:07}").into_bytes()
}

/// Connects, asks for all watches, and waits until each is created.
pub(super) async fn create(
    authority: &str,
    crowd: Crowd,
    asked: Asked,
    progress: &Rc<Progress>,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    ask(authority, crowd, asked, progress, tasks).await?;
    let count = crowd.count();
    progress.wait("creating watches", CREATE_MAX, |progress| progress.created.get() >= count).await
}

/// Connects and asks for all watches, and waits for nothing else.
pub(super) async fn ask(
    authority: &str,
    crowd: Crowd,
    asked: Asked,
    progress: &Rc<Progress>,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    let mut number = 0;
    for _ in 0..crowd.links {
        let mut link = Link::connect(authority, crowd.streams as usize).await.context("a connection")?;
        let mut streams = Vec::new();
        for _ in 0..crowd.streams {
            link.wire.open(WATCH);
            streams.push((number..number + crowd.watches).map(|number| Watch::new(asked, number)).collect());
            number += crowd.watches;
        }
        let ears = Ears::new(progress, streams, asked.start_revision);
        link.spawn(ears, progress, tasks);
        // The task begins to write before the next connection is built.
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl Watch {
    fn new(asked: Asked, number: u64) -> Self {
        let is_range = asked.keys == 0;
        let key = if is_range { b"l".to_vec() } else { key('k', number % asked.keys) };
        Self { key, is_range, last_revision: 0, last_key: Vec::new() }
    }

    /// A WatchRequest that creates it.
    fn request(&self, start_revision: u64) -> Vec<u8> {
        let mut create = Vec::new();
        pb::put_bytes(&mut create, 1, &self.key);
        if self.is_range {
            pb::put_bytes(&mut create, 2, b"m");
        }
        if start_revision > 0 {
            pb::put_number(&mut create, 3, start_revision);
        }
        let mut request = Vec::new();
        pb::put_bytes(&mut request, 1, &create);
        request
    }

    /// Whether an event belongs here and comes in its turn: once, and never before an earlier one.
    fn accept(&mut self, key: &[u8], revision: u64) -> Result<(), Broken> {
        let fits = if self.is_range { key.starts_with(b"l") } else { key == self.key };
        // Events of one revision come in the order of their keys or operations, each key once.
        let fresh = revision > self.last_revision
            || (self.is_range && revision == self.last_revision && key != self.last_key);
        if !fits || !fresh {
            let text = format!(
                "an event of {} at revision {revision} after {} where {} is watched",
                key.escape_ascii(),
                self.last_revision,
                self.key.escape_ascii()
            );
            return Err(Broken(text));
        }
        self.last_revision = revision;
        if self.is_range {
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
        }
        Ok(())
    }
}

impl Ears {
    fn new(progress: &Rc<Progress>, streams: Vec<Vec<Watch>>, start_revision: u64) -> Self {
        let none = vec![0; streams.len()];
        Self { progress: Rc::clone(progress), streams, start_revision, asked: none.clone(), created: none }
    }
}

impl Talk for Ears {
    fn hear(&mut self, stream: StreamNumber, message: &[u8]) -> Result<(), Broken> {
        let (mut id, mut created, mut canceled, mut events) = (0, false, false, 0);
        let watches = self.streams.get_mut(stream).ok_or_else(|| Broken("an unknown stream".into()))?;
        for (field, value) in pb::Fields::new(message) {
            match (field, value) {
                (2, pb::Value::Number(number)) => id = number as usize,
                (3, pb::Value::Number(number)) => created = number != 0,
                (4, pb::Value::Number(number)) => canceled = number != 0,
                // Fields come in order, so the id is known.
                (11, pb::Value::Bytes(event)) => {
                    let watch =
                        watches.get_mut(id).ok_or_else(|| Broken(format!("an unknown watch {id}")))?;
                    self.progress.event(watch, event)?;
                    events += 1;
                }
                _ => {}
            }
        }
        if canceled {
            let reason = pb::messages(message, 6).next().unwrap_or_default();
            return Err(Broken(format!("watch {id} was canceled: {}", reason.escape_ascii())));
        }
        if created {
            self.created[stream] += 1;
            self.progress.created.set(self.progress.created.get() + 1);
        }
        if events > 0 {
            self.progress.hear(events);
        }
        Ok(())
    }

    fn speak(&mut self, wire: &mut Duplex) {
        let counts = self.asked.iter_mut().zip(&self.created);
        for (stream, (watches, (asked, created))) in self.streams.iter().zip(counts).enumerate() {
            while *asked < watches.len() && *asked - created < ASKED_MAX {
                wire.send(stream, &watches[*asked].request(self.start_revision));
                *asked += 1;
            }
        }
    }
}

impl Progress {
    fn event(&self, watch: &mut Watch, event: &[u8]) -> Result<(), Broken> {
        let (mut kind, mut pair) = (0, &[][..]);
        for (field, value) in pb::Fields::new(event) {
            match (field, value) {
                (1, pb::Value::Number(number)) => kind = number,
                (2, pb::Value::Bytes(bytes)) => pair = bytes,
                _ => {}
            }
        }
        let (mut key, mut revision, mut value) = (&[][..], 0, &[][..]);
        for field in pb::Fields::new(pair) {
            match field {
                (1, pb::Value::Bytes(bytes)) => key = bytes,
                (3, pb::Value::Number(number)) => revision = number,
                (5, pb::Value::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        watch.accept(key, revision)?;
        if self.timing.get()
            && kind != DELETE
            && let Some(stamp) = value.first_chunk()
        {
            let delay = stamp_ns().saturating_sub(u64::from_be_bytes(*stamp));
            self.delay_ns.borrow_mut().saturating_record(delay);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &[u8], revision: u64) -> Vec<u8> {
        let (mut pair, mut event, mut message) = (Vec::new(), Vec::new(), Vec::new());
        pb::put_bytes(&mut pair, 1, key);
        pb::put_number(&mut pair, 3, revision);
        pb::put_bytes(&mut event, 2, &pair);
        pb::put_number(&mut message, 2, 1);
        pb::put_bytes(&mut message, 11, &event);
        message
    }

    #[test]
    fn lost_order_doubles_and_strangers_are_noticed() {
        let asked = Asked { keys: 2, start_revision: 0 };
        let check = |messages: &[(&[u8], u64)]| {
            let progress = Progress::new();
            let streams = vec![vec![Watch::new(asked, 0), Watch::new(asked, 1)]];
            let mut ears = Ears::new(&progress, streams, 0);
            let heard = messages.iter().try_for_each(|(key, revision)| ears.hear(0, &event(key, *revision)));
            heard.map(|()| progress.heard.get()).map_err(|Broken(text)| text)
        };
        assert_eq!(check(&[(b"k0000001", 5), (b"k0000001", 7)]), Ok(2));
        assert!(check(&[(b"k0000001", 5), (b"k0000001", 5)]).is_err(), "doubled");
        assert!(check(&[(b"k0000001", 5), (b"k0000001", 4)]).is_err(), "out of order");
        assert!(check(&[(b"k0000000", 5)]).is_err(), "another's");
    }
}
