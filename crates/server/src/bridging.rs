//! The bridge between the keyspaces in a member: v2's requests on v3's keys, if its operator wants that.
//!
//! The prefix is this member's setting and travels in each command, so that applying never depends on a setting; who
//! proposes decides. A member that sees others propose otherwise says so.

use std::sync::{Arc, Once};

use api::{Consistency, Fault, V2Reply};
use bridge::{Layout, News, get, get_file};
use command::{Bridged, Command, Effect, Outcome};
use mvcc::{Changes, ReadError};
use stdx::Clock;
use types::v2::{Action, Event, Get, Timestamp, Write};

use crate::asking::{done, odd};
use crate::leases::some_id;
use crate::member::Member;
use crate::rooms::Rooms;
use crate::tally;

/// What v2 shows on this member.
pub(crate) struct Bridging {
    layout: Option<Layout>,
    clock: Arc<dyn Clock>,
    warned: Once,
}

impl Bridging {
    /// With a prefix v2 shows the keys below it; without, v2's own keyspace.
    pub(crate) fn new(prefix: Option<&str>, clock: Arc<dyn Clock>) -> Self {
        let layout = prefix.map(|prefix| Layout::new(prefix.as_bytes().to_vec().into()));
        Self { layout, clock, warned: Once::new() }
    }

    /// Which keys v2 shows, if it does.
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// v2's own keyspace is hidden by the bridge: its operator should know if there is something in it.
    pub(crate) fn announce(&self, rooms: &Rooms) {
        let Some(layout) = &self.layout else { return };
        let prefix = layout.prefix().escape_ascii().to_string();
        let root = Get { path: types::v2::Path::clean("/"), recursive: false, sorted: false };
        let is_empty = rooms.v2.get(&root, self.now()).is_ok_and(|event| event.node.nodes.is_empty());
        if is_empty {
            tracing::info!(prefix, "v2 shows v3's keys below a prefix");
        } else {
            tracing::warn!(
                prefix,
                "v2 shows v3's keys below a prefix; what was written to v2's own keyspace before is kept and hidden: \
                 copy it with 'kvorumctl migrate' from a member without --v2-bridge-prefix"
            );
        }
    }

    /// Tells the events of what was just published.
    pub(crate) fn events(&self, rooms: &Rooms, changes: &Changes) -> Result<Vec<Arc<Event>>, ReadError> {
        let Some(news) = self.news(rooms) else { return Ok(Vec::new()) };
        news.events(changes)
    }

    pub(crate) fn news<'a>(&'a self, rooms: &'a Rooms) -> Option<News<'a>> {
        let layout = self.layout.as_ref()?;
        Some(News { layout, mvcc: &rooms.mvcc, leases: &rooms.leases, now: self.now() })
    }

    /// Says once if another member writes elsewhere for v2 than this one would.
    pub(crate) fn compare(&self, outcome: &Outcome) {
        let here = self.layout.as_ref().map(Layout::prefix);
        let there = match &outcome.result {
            Ok(Effect::Bridged(Bridged { prefix, .. })) => Some(prefix),
            Ok(Effect::V2(Ok(events))) if events.iter().any(|event| event.action != Action::Expire) => None,
            _ => return,
        };
        if here != there {
            let name = |prefix: Option<&bytes::Bytes>| {
                prefix.map_or("none".to_owned(), |prefix| prefix.escape_ascii().to_string())
            };
            self.warned.call_once(|| {
                tracing::warn!(
                    here = name(here), there = name(there),
                    "members have different --v2-bridge-prefix, so v2's clients see different keys at different members; \
                     give all of them the same"
                );
            });
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.wall_ns())
    }
}

impl Member {
    /// A read of v2 on v3's keys.
    pub(crate) async fn bridged_get(&self, get: Get, consistency: Consistency) -> Result<V2Reply, Fault> {
        self.linearize(consistency).await?;
        let now = self.now();
        let bridging = Arc::clone(&self.house.bridging);
        let layout = bridging.layout().ok_or_else(odd)?;
        let file = {
            let rooms = self.house.wing.look();
            get_file(layout, &rooms.mvcc, &rooms.leases, &get.path, now)
        };
        let recursive = get.recursive;
        let result = if let Some(event) = file.map_err(|error| self.unreadable(error))? {
            Ok(event)
        } else {
            // A directory may be large.
            let bridging = Arc::clone(&bridging);
            let read = self.aside(move |rooms| {
                let layout = bridging.layout().expect("it does not change");
                self::get(layout, &rooms.mvcc, &rooms.leases, &get, now)
            });
            read.await?.map_err(|error| self.unreadable(error))?
        };
        self.house.shared.counts.read(result.is_ok());
        self.measures.tally.v2_read(recursive, result.is_ok());
        Ok(self.v2_reply(result.map(Arc::new)))
    }

    /// A write of v2 on v3's keys; its expiry is absolute.
    pub(crate) async fn bridged_write(&self, write: Write, now: Timestamp) -> Result<V2Reply, Fault> {
        let layout = self.house.bridging.layout().ok_or_else(odd)?;
        let action = tally::action_of(&write);
        let command = Command::BridgedV2 { prefix: layout.prefix().clone(), write, now, lease: some_id() };
        let outcome = self.write(command).await?;
        let Effect::Bridged(Bridged { result, .. }) = done(outcome.result)? else { return Err(odd()) };
        if result.is_err() {
            self.measures.tally.v2_refused(action);
            self.house.shared.counts.refused(action);
        }
        Ok(self.v2_reply(result))
    }
}
