//! What comes and goes between members: consensus' messages, as frames of the transport.
//!
//! INVARIANT: nothing here waits; what cannot be sent at once is dropped, and raft sends again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Door, Envelope};
use telemetry::{Buckets, Counter, Histogram, Registry};
use transport::{Inbox, Transport};
use types::MemberId;

use crate::counting::Counts;
use crate::shared::{End, Shared};
use crate::ticket::{ReadTicket, WriteTicket};

/// Sends. One frame for each message.
pub(crate) fn send(transport: &Transport, counts: &Counts, messages: Vec<Envelope>) {
    for message in messages {
        if message.is_append() {
            counts.append_sent();
        }
        let lane = match message.lane() {
            consensus::Lane::Vital => transport::Lane::Vital,
            consensus::Lane::Bulk => transport::Lane::Bulk,
        };
        transport.send(message.to, lane, message.encode());
    }
}

/// Takes in, on the transport's thread, which steps the replica with what came.
pub(crate) struct Letterbox {
    me: MemberId,
    door: Door<WriteTicket, ReadTicket>,
    shared: Arc<Shared>,
    registry: Registry,
    failures: Counter,
    round_trips: parking_lot::Mutex<Vec<(MemberId, Histogram)>>,
}

impl Letterbox {
    pub(crate) fn new(
        me: MemberId,
        door: Door<WriteTicket, ReadTicket>,
        shared: Arc<Shared>,
        registry: &Registry,
    ) -> Self {
        let failures = registry.counter(
            "etcd_server_heartbeat_send_failures_total",
            "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
            &[],
        );
        let (registry, round_trips) = (registry.clone(), parking_lot::Mutex::default());
        Self { me, door, shared, registry, failures, round_trips }
    }
}

impl Inbox for Letterbox {
    fn receive(&self, from: MemberId, frames: Vec<Bytes>) {
        let mut messages = Vec::with_capacity(frames.len());
        for frame in frames {
            match Envelope::decode(from, self.me, frame) {
                Ok(message) => {
                    if message.is_append() {
                        self.shared.counts.append_received();
                    }
                    messages.push(message);
                }
                Err(error) => tracing::warn!(%from, %error, "ignored a message of a peer"),
            }
        }
        self.door.receive(messages);
    }

    fn reached(&self, _peer: MemberId) {
        // A leader's next heartbeat may be long in coming, and who has just started waits for it.
        self.door.reach_out();
    }

    fn unreachable(&self, peer: MemberId) {
        if self.shared.leads() {
            self.failures.increment(1);
        }
        self.door.unreachable(peer);
    }

    fn gone(&self, peer: MemberId) {
        self.door.gone(peer);
    }

    fn removed(&self, by: MemberId) {
        tracing::warn!({ "remote-peer-id" } = %by, "a peer says that this member was removed from the cluster");
        self.shared.end(End::Removed);
    }

    fn round_trip(&self, peer: MemberId, time: Duration) {
        self.shared.counts.answered(peer, time);
        let mut known = self.round_trips.lock();
        let at = known.iter().position(|(id, _)| *id == peer).unwrap_or_else(|| {
            let to = peer.to_string();
            let histogram = self.registry.histogram(
                "etcd_network_peer_round_trip_time_seconds",
                "Round-Trip-Time histogram between peers",
                &[("To", to.as_str())],
                Buckets::exponential(0.0001, 2.0, 16),
            );
            known.push((peer, histogram));
            known.len() - 1
        });
        if let Some((_, histogram)) = known.get(at) {
            histogram.record(time);
        }
    }
}
