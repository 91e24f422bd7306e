//! Watches: many on one stream. Requests go to the member's stream of watches as they come, its answers go out as they
//! come; several that are there at once leave together.
//!
//! An event is encoded once for all who watch it, and shared: an answer is a small head of its own, and events.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use api::{SharedEvent, WatchBody, WatchId, WatchReply, WatchSpec, WatchStream};
use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use proto::{etcdserverpb as pb, mvccpb};
use types::{Event, EventKind, Key, KeyRange, Revision};

use crate::convert;
use crate::gateway::Shared;
use crate::refusal::Refusal;
use crate::stream::{Call, Outlet};

/// Where events are in an answer.
const EVENTS: u32 = 11;

/// Requests that are taken one after the other before answers have their turn.
const REQUESTS_MAX: usize = 256;

/// The id in the answer to a creation that was refused.
const NO_WATCH: i64 = -1;

/// Creations that are not answered yet; at the limit no request is read until some are. They wait in memory, with their
/// keys: what is idle later must not have cost more than it does then.
const OWED_MAX: usize = 256;

/// Serves the watches of one stream until the client goes, the member stops or the leader is lost.
pub(crate) async fn serve(mut call: Call) -> Result<(), Refusal> {
    let requires_leader = call.metadata.requires_leader();
    call.admit().await?;
    let mut watches = call.member.watch(requires_leader)?;
    let message_bytes_max = call.shared.message_bytes_max;
    let shared = Arc::clone(&call.shared);
    let Call { mut inlet, mut outlet, .. } = call;
    // A client that will ask for nothing more is told all the same.
    let mut asks = true;
    let mut tally = Tally { owed: 0, living: 0, living_max: shared.limits.watches_max, refused: 0 };
    // Answers since the client was last listened to.
    let mut unheard = 0;
    loop {
        let next = poll_fn(|cx| {
            // Answers first, so that no number of requests keeps them waiting; but see below.
            if let Poll::Ready(reply) = watches.poll_next(cx) {
                unheard += 1;
                return Poll::Ready(reply.map(Next::Reply).map_err(Refusal::from));
            }
            unheard = 0;
            if asks && tally.owed < OWED_MAX {
                return inlet.poll_next(cx).map(|request| request.map(Next::Request));
            }
            Poll::Pending
        });
        let mut is_heard = false;
        match next.await? {
            Next::Request(request) => {
                is_heard = true;
                asks = take(watches.as_mut(), request, &mut tally);
            }
            Next::Reply(reply) => {
                let mut reply = Some(reply);
                while let Some(answer) = reply.take() {
                    tally.note(&answer.body);
                    put(&mut outlet, &answer, message_bytes_max)?;
                    if !outlet.is_full() {
                        reply = watches.at_hand();
                    }
                }
                outlet.flush().await;
            }
        }
        // What comes together is taken together; and a stream that is never without events still hears its client.
        for _ in 0..REQUESTS_MAX {
            if !asks || tally.owed >= OWED_MAX || !(is_heard || unheard > 1) {
                break;
            }
            match now(inlet.next()).await {
                Some(request) => asks = take(watches.as_mut(), request?, &mut tally),
                None => break,
            }
        }
        if tally.refused > 0 {
            for _ in 0..std::mem::take(&mut tally.refused) {
                refuse(&shared, &mut outlet)?;
            }
            outlet.flush().await;
        }
    }
}

/// How many watches a stream has.
struct Tally {
    /// Asked for and not answered.
    owed: usize,
    /// Answered and not over.
    living: usize,
    living_max: usize,
    /// Asked for beyond that, and not told so.
    refused: usize,
}

impl Tally {
    fn note(&mut self, body: &WatchBody) {
        match body {
            WatchBody::Created => {
                self.owed = self.owed.saturating_sub(1);
                self.living += 1;
            }
            WatchBody::Refused { .. } => self.owed = self.owed.saturating_sub(1),
            WatchBody::Canceled { .. } => self.living = self.living.saturating_sub(1),
            WatchBody::Progress | WatchBody::Events { .. } => {}
        }
    }
}

/// What a stream goes on with.
enum Next {
    Reply(WatchReply),
    /// `None` after the last.
    Request(Option<pb::WatchRequest>),
}

/// What a future gives without waiting.
async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Does what a request wants; `false` after the last.
fn take(watches: &mut dyn WatchStream, request: Option<pb::WatchRequest>, tally: &mut Tally) -> bool {
    use pb::watch_request::RequestUnion as Wish;
    let Some(request) = request else { return false };
    match request.request_union {
        Some(Wish::CreateRequest(_)) if tally.owed + tally.living >= tally.living_max => tally.refused += 1,
        Some(Wish::CreateRequest(create)) => {
            tally.owed += 1;
            watches.create(spec(&create));
        }
        Some(Wish::CancelRequest(cancel)) => watches.cancel(WatchId(cancel.watch_id)),
        Some(Wish::ProgressRequest(_)) => watches.progress(),
        None => {}
    }
    true
}

/// Tells of a watch too many, as of one that may not be.
fn refuse(shared: &Shared, outlet: &mut Outlet) -> Result<(), Refusal> {
    shared.meters.limits.watches.increment(1);
    outlet.put(&pb::WatchResponse {
        header: Some(convert::header(shared.member.header())),
        watch_id: NO_WATCH,
        created: true,
        canceled: true,
        cancel_reason: "kvorum: too many watches on this stream".to_owned(),
        ..Default::default()
    })
}

fn spec(create: &pb::WatchCreateRequest) -> WatchSpec {
    use pb::watch_create_request::FilterType as Filter;
    // Copies: a watch lives long, and would keep the buffer that its request came in.
    let own = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    // No key is the first possible key.
    let key = Key::new(own(&create.key)).or_else(|| Key::new(Bytes::from_static(b"\0")));
    let range = match key {
        Some(key) => KeyRange::from_wire(key, own(&create.range_end)),
        None => KeyRange::all(),
    };
    let filters = |filter: Filter| create.filters.contains(&i32::from(filter));
    WatchSpec {
        range,
        start: match create.start_revision {
            0 => None,
            // Before everything, which may have been forgotten.
            start => Some(Revision::from_wire(start).unwrap_or_default()),
        },
        progress_notify: create.progress_notify,
        without_puts: filters(Filter::Noput),
        without_deletes: filters(Filter::Nodelete),
        prev_kv: create.prev_kv,
        fragment: create.fragment,
        id: (create.watch_id != 0).then_some(WatchId(create.watch_id)),
    }
}

fn put(outlet: &mut Outlet, reply: &WatchReply, message_bytes_max: usize) -> Result<(), Refusal> {
    let mut head = pb::WatchResponse {
        header: Some(convert::header(reply.header)),
        watch_id: reply.id.0,
        ..Default::default()
    };
    match &reply.body {
        WatchBody::Created => head.created = true,
        WatchBody::Refused { reason } => {
            (head.created, head.canceled) = (true, true);
            head.cancel_reason.clone_from(reason);
        }
        WatchBody::Canceled { compacted, reason } => {
            head.canceled = true;
            // etcd keeps -1 until the first compaction.
            let told = |revision: Revision| if revision.0 == 0 { -1 } else { revision.to_wire() };
            head.compact_revision = compacted.map_or(0, told);
            head.cancel_reason.clone_from(reason);
        }
        WatchBody::Progress => {}
        WatchBody::Events { events, fragment } => {
            let bytes_max = if *fragment { message_bytes_max } else { usize::MAX };
            return put_events(outlet, head, events, bytes_max);
        }
    }
    outlet.put(&head)
}

/// Puts events, in several messages if one would be of `bytes_max` bytes or more. A single event is never torn.
fn put_events(
    outlet: &mut Outlet,
    mut head: pb::WatchResponse,
    mut events: &[Arc<SharedEvent>],
    bytes_max: usize,
) -> Result<(), Refusal> {
    loop {
        head.fragment = true;
        let (count, bytes) = fitting(head.encoded_len(), events, bytes_max);
        let (now, later) = events.split_at(count);
        head.fragment = !later.is_empty();
        put_message(outlet, &head, now, bytes)?;
        events = later;
        if events.is_empty() {
            return Ok(());
        }
    }
}

/// How many events fit into a message beside a head of `head_bytes`, at least one, and how many bytes these have.
fn fitting(head_bytes: usize, events: &[Arc<SharedEvent>], bytes_max: usize) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for event in events {
        let length = wire(event).len();
        let more = key_len(EVENTS) + encoded_len_varint(length as u64) + length;
        if count > 0 && head_bytes + bytes + more >= bytes_max {
            break;
        }
        (count, bytes) = (count + 1, bytes + more);
    }
    (count, bytes)
}

fn put_message(
    outlet: &mut Outlet,
    head: &pb::WatchResponse,
    events: &[Arc<SharedEvent>],
    bytes: usize,
) -> Result<(), Refusal> {
    if !outlet.takes_pieces() {
        let events = events.iter().map(|event| of_event(&event.event)).collect();
        return outlet.put(&pb::WatchResponse { events, ..head.clone() });
    }
    outlet.begin(head.encoded_len() + bytes);
    head.encode_raw(outlet.buffer());
    for event in events {
        let event = wire(event);
        encode_key(EVENTS, WireType::LengthDelimited, outlet.buffer());
        encode_varint(event.len() as u64, outlet.buffer());
        outlet.piece(event);
    }
    Ok(())
}

fn wire(event: &SharedEvent) -> &Bytes {
    event.wire.get_or_init(|| of_event(&event.event).encode_to_vec().into())
}

fn of_event(event: &Event) -> mvccpb::Event {
    use mvccpb::event::EventType;
    let kind = match event.kind {
        EventKind::Put => EventType::Put,
        EventKind::Delete => EventType::Delete,
    };
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(convert::key_value(event.kv.clone())),
        prev_kv: event.prev.clone().map(convert::key_value),
    }
}
