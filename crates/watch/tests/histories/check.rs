//! The naive model: all events there ever were, and what each watch must have got of them.

use std::collections::BTreeMap;

use types::{Event, EventKind, KeyValue, Revision, WatchId, WatchSpec};
use watch::{Body, Reply};

/// All events, oldest first, each with what it replaced; and the keys of now.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) events: Vec<Event>,
    pub(crate) keys: BTreeMap<Vec<u8>, KeyValue>,
    pub(crate) compacted: u64,
}

impl Past {
    pub(crate) fn put(&mut self, revision: u64, key: &[u8], value: &[u8]) {
        let prev = self.keys.get(key).cloned();
        let kv = KeyValue {
            key: key.to_vec().into(),
            value: value.to_vec().into(),
            create_revision: prev.as_ref().map_or(Revision(revision), |prev| prev.create_revision),
            mod_revision: Revision(revision),
            version: prev.as_ref().map_or(0, |prev| prev.version) + 1,
            lease: types::LeaseId::NONE,
        };
        self.keys.insert(key.to_vec(), kv.clone());
        self.events.push(Event { kind: EventKind::Put, kv, prev });
    }

    pub(crate) fn delete(&mut self, revision: u64, key: &[u8]) {
        let prev = self.keys.remove(key);
        let kv = KeyValue {
            key: key.to_vec().into(),
            value: bytes::Bytes::new(),
            create_revision: Revision(0),
            mod_revision: Revision(revision),
            version: 0,
            lease: types::LeaseId::NONE,
        };
        self.events.push(Event { kind: EventKind::Delete, kv, prev });
    }
}

/// What a watch was asked for and what it got.
pub(crate) struct Seen {
    pub(crate) spec: WatchSpec,
    /// The revision when it was asked for.
    asked: u64,
    /// The first revision that it wants; known when it was created.
    start: Option<u64>,
    /// The place in all events up to which it has got what it wants.
    place: usize,
    ended: bool,
}

impl Seen {
    fn wants(&self, event: &Event) -> bool {
        let is_wanted = match event.kind {
            EventKind::Put => !self.spec.without_puts,
            EventKind::Delete => !self.spec.without_deletes,
        };
        is_wanted
            && self.start.is_some_and(|start| event.kv.mod_revision.0 >= start)
            && self.spec.range.contains(&event.kv.key)
    }

    /// The next event that it should get.
    fn next<'p>(&mut self, past: &'p Past) -> Option<&'p Event> {
        while let Some(event) = past.events.get(self.place) {
            if self.wants(event) {
                return Some(event);
            }
            self.place += 1;
        }
        None
    }
}

/// All watches of one stream, as its reader knows them. Created answers come in the order of the requests.
#[derive(Default)]
pub(crate) struct Reader {
    asked: std::collections::VecDeque<Seen>,
    watches: BTreeMap<WatchId, Seen>,
    pub(crate) counts: Counts,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) events: usize,
    pub(crate) compacted: usize,
    pub(crate) progress: usize,
}

impl Reader {
    pub(crate) fn asks(&mut self, spec: WatchSpec, revision: u64) {
        self.asked.push_back(Seen { spec, asked: revision, start: None, place: 0, ended: false });
    }

    pub(crate) fn ids(&self) -> Vec<WatchId> {
        self.watches.iter().filter(|(_, seen)| !seen.ended).map(|(id, _)| *id).collect()
    }

    pub(crate) fn reads(&mut self, reply: &Reply, past: &Past) {
        let Reply { id, revision, body } = reply;
        match body {
            Body::Created => {
                let mut seen = self.asked.pop_front().expect("somebody asked");
                assert!(revision.0 >= seen.asked, "created at {revision}, asked at {}", seen.asked);
                assert!(seen.spec.id.is_none_or(|chosen| chosen == *id));
                seen.start = Some(seen.spec.start.map_or(revision.0 + 1, |start| start.0));
                let before = self.watches.insert(*id, seen);
                assert!(before.is_none_or(|before| before.ended), "{id:?} is there already");
            }
            Body::Refused(why) => {
                let seen = self.asked.pop_front().expect("somebody asked");
                let taken =
                    seen.spec.id.is_some_and(|id| self.watches.get(&id).is_some_and(|seen| !seen.ended));
                assert!(taken || seen.spec.range.is_empty(), "{why}");
            }
            Body::Canceled { compacted: None } => self.of(*id).ended = true,
            Body::Canceled { compacted: Some(compacted) } => {
                self.counts.compacted += 1;
                assert!(compacted.0 <= past.compacted);
                let seen = self.of(*id);
                let at = seen.next(past).map_or(u64::MAX, |event| event.kv.mod_revision.0);
                let position = seen.start.unwrap_or(0).min(at);
                assert!(position < compacted.0, "compacted at {compacted}, wants {at}");
                seen.ended = true;
            }
            Body::Events { events, .. } => {
                self.counts.events += events.len();
                let seen = self.of(*id);
                for event in events.iter() {
                    let expect = seen.next(past).expect("an event too many");
                    same(&event.event, expect, seen.spec.prev_kv, past.compacted);
                    seen.place += 1;
                }
                let last = events.last().expect("not empty").event.kv.mod_revision;
                assert!(*revision >= last);
                let next = seen.next(past).map(|event| event.kv.mod_revision);
                assert!(next.is_none_or(|next| next > last), "revision {last} is torn apart");
            }
            Body::Progress => {
                self.counts.progress += 1;
                let all = self.watches.iter_mut().filter(|(of, _)| *id == WatchId::NONE || id == *of);
                for (id, seen) in all.filter(|(_, seen)| !seen.ended) {
                    let missing = seen.next(past).filter(|event| event.kv.mod_revision <= *revision);
                    assert!(missing.is_none(), "progress at {revision}, {id:?} has not got {missing:?}");
                }
            }
        }
    }

    /// Nothing more is under way: everybody has everything.
    pub(crate) fn rests(&mut self, past: &Past) {
        assert!(self.asked.is_empty(), "a watch was asked for and never answered");
        for (id, seen) in self.watches.iter_mut().filter(|(_, seen)| !seen.ended) {
            assert_eq!(seen.next(past), None, "{id:?} has not got this");
        }
    }

    fn of(&mut self, id: WatchId) -> &mut Seen {
        let seen = self.watches.get_mut(&id).expect("a watch that was created");
        assert!(!seen.ended, "{id:?} was canceled before");
        seen
    }
}

fn same(got: &Event, expect: &Event, prev_kv: bool, compacted: u64) {
    assert_eq!((got.kind, &got.kv), (expect.kind, &expect.kv));
    match (&got.prev, &expect.prev) {
        (None, Some(_)) if prev_kv => {
            assert!(expect.kv.mod_revision.0 <= compacted, "{expect:?} came without what it replaced");
        }
        (None, _) => {}
        (got, expect) => assert!(prev_kv && got == expect, "replaced {expect:?}, told {got:?}"),
    }
}
