//! All keys of a range as they were at one revision, a page after the other.

use std::time::Duration;

use bytes::Bytes;
use client::Client;
use proto::etcdserverpb::RangeRequest;
use proto::mvccpb::KeyValue;

use crate::failure::Failure;

/// Keys that are read at once: at first, and at most.
const PAGE_KEYS: i64 = 200;
const PAGE_KEYS_MAX: i64 = 2000;
/// How large a page may be, in bytes, if keys and values are like those of the last one.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// See the module.
pub(super) struct Pages {
    client: Client,
    patience: Option<Duration>,
    next: Option<Bytes>,
    range_end: Bytes,
    limit: i64,
    keys_only: bool,
    /// The revision at which everything is read; zero before the first page unless it was given.
    pub(super) revision: i64,
    /// The cluster that answered.
    pub(super) cluster: u64,
}

impl Pages {
    /// Of a range, at this revision or at the present one.
    pub(super) fn of(
        client: &Client,
        range: (Bytes, Bytes),
        revision: i64,
        patience: Option<Duration>,
    ) -> Self {
        Self {
            client: client.clone(),
            patience,
            next: Some(range.0),
            range_end: range.1,
            limit: PAGE_KEYS,
            keys_only: false,
            revision,
            cluster: 0,
        }
    }

    /// Without values.
    pub(super) fn keys_only(self) -> Self {
        Self { keys_only: true, limit: PAGE_KEYS_MAX, ..self }
    }

    /// The next page; nothing behind the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<KeyValue>>, Failure> {
        let Some(key) = self.next.take() else { return Ok(None) };
        let request = RangeRequest {
            key: key.clone(),
            range_end: self.range_end.clone(),
            limit: self.limit,
            revision: self.revision,
            keys_only: self.keys_only,
            ..Default::default()
        };
        let reply = match self.client.call(request, self.patience).await {
            Ok(reply) => reply,
            Err(fault) => {
                // Whoever asks again goes on here.
                self.next = Some(key);
                return Err(fault.into());
            }
        };
        let header = reply.header.unwrap_or_default();
        self.cluster = header.cluster_id;
        if self.revision == 0 {
            self.revision = header.revision;
        }
        self.next =
            reply.kvs.last().filter(|_| reply.more).map(|last| [&last.key[..], b"\0"].concat().into());
        let bytes: usize = reply.kvs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
        let each = (bytes / reply.kvs.len().max(1)).max(1);
        self.limit = i64::try_from(PAGE_BYTES / each).unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX);
        Ok(Some(reply.kvs))
    }
}
