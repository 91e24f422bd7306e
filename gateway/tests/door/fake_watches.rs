//! The fake member's watches: each creation is answered, and what else comes the test says.
//!
//! A watch of the key `event` is told at once of two events.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use api::{Fault, SharedEvent, WatchBody, WatchId, WatchReply, WatchSpec, WatchStream};
use bytes::Bytes;
use tokio::sync::mpsc;
use types::{Event, EventKind, KeyValue, LeaseId, Revision};

use crate::fake::{Fake, HEADER};

/// What the test lets a stream say.
pub(crate) type Feed = mpsc::Receiver<Result<WatchReply, Fault>>;

/// Watches of one stream.
pub(crate) struct FakeWatches {
    fake: Arc<Fake>,
    feed: Option<Feed>,
    replies: VecDeque<WatchReply>,
    ids: Vec<WatchId>,
}

impl FakeWatches {
    pub(crate) fn new(fake: Arc<Fake>, feed: Option<Feed>) -> Self {
        fake.streams.fetch_add(1, Ordering::Relaxed);
        Self { fake, feed, replies: VecDeque::new(), ids: Vec::new() }
    }

    fn reply(&mut self, id: WatchId, body: WatchBody) {
        self.replies.push_back(WatchReply { header: HEADER, id, body });
    }
}

impl Drop for FakeWatches {
    fn drop(&mut self) {
        self.fake.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WatchStream for FakeWatches {
    fn create(&mut self, spec: WatchSpec) {
        self.fake.see(format!(
            "watch {:?} start={:?} id={:?} flags={}{}{}{}{}",
            spec.range,
            spec.start.map(|start| start.0),
            spec.id.map(|id| id.0),
            u8::from(spec.progress_notify),
            u8::from(spec.without_puts),
            u8::from(spec.without_deletes),
            u8::from(spec.prev_kv),
            u8::from(spec.fragment),
        ));
        if spec.range.is_empty() {
            let reason = "mvcc: watcher range is empty".to_owned();
            return self.reply(WatchId::NONE, WatchBody::Refused { reason });
        }
        let id = spec.id.unwrap_or(WatchId(self.ids.len() as i64));
        self.ids.push(id);
        self.reply(id, WatchBody::Created);
        if spec.start == Some(Revision(0)) {
            let compacted = Some(Revision(5));
            self.reply(id, WatchBody::Canceled { compacted, reason: String::new() });
        } else if spec.range.start == "event" {
            let events = vec![put(b"event", 3, Bytes::from_static(b"bar")), removal(b"event", 4)];
            self.reply(id, WatchBody::Events { events: events.into(), fragment: spec.fragment });
        }
    }

    fn cancel(&mut self, id: WatchId) {
        self.fake.see(format!("cancel {}", id.0));
        if self.ids.contains(&id) {
            self.reply(id, WatchBody::Canceled { compacted: None, reason: String::new() });
        }
    }

    fn progress(&mut self) {
        self.fake.see("progress".to_owned());
        self.reply(WatchId::NONE, WatchBody::Progress);
    }

    fn at_hand(&mut self) -> Option<WatchReply> {
        self.replies.pop_front()
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchReply, Fault>> {
        if let Some(reply) = self.replies.pop_front() {
            return Poll::Ready(Ok(reply));
        }
        match &mut self.feed {
            Some(feed) => feed.poll_recv(context).map(|fed| fed.unwrap_or(Err(Fault::NoLeader))),
            None => Poll::Pending,
        }
    }
}

/// A key was written.
pub(crate) fn put(key: &'static [u8], revision: u64, value: Bytes) -> Arc<SharedEvent> {
    let kv = KeyValue {
        key: Bytes::from_static(key),
        value,
        create_revision: Revision(2),
        mod_revision: Revision(revision),
        version: 3,
        lease: LeaseId(7),
    };
    Arc::new(SharedEvent { event: Event { kind: EventKind::Put, kv, prev: None }, wire: OnceLock::new() })
}

fn removal(key: &'static [u8], revision: u64) -> Arc<SharedEvent> {
    let kv = KeyValue {
        key: Bytes::from_static(key),
        value: Bytes::new(),
        create_revision: Revision(0),
        mod_revision: Revision(revision),
        version: 0,
        lease: LeaseId(0),
    };
    let prev = Some(KeyValue { value: Bytes::from_static(b"bar"), version: 3, ..kv.clone() });
    Arc::new(SharedEvent { event: Event { kind: EventKind::Delete, kv, prev }, wire: OnceLock::new() })
}
