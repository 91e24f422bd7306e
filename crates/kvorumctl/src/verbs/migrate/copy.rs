//! The writing end: what is there already, what is missing, and the copy, a bounded piece after the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, prefix_end};
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    request_op,
};
use proto::mvccpb::KeyValue;

use super::source::Entry;
use crate::failure::Failure;

/// What one transaction writes; etcd's default limit is 128 operations and 1.5 MiB.
const PIECE_KEYS_MAX: usize = 64;
const PIECE_BYTES_MAX: usize = 512 << 10;
/// Keys that are read at once.
const PAGE_KEYS: i64 = 1000;

/// See the module.
pub(crate) struct Copy<'a> {
    pub(crate) client: &'a Client,
    pub(crate) patience: Option<Duration>,
    pub(crate) prefix: String,
    /// When the source was read, or a moment before.
    pub(crate) read: Instant,
    /// Keys that were written until now.
    pub(crate) written: &'a AtomicUsize,
}

/// How the keys to be compare with those that are there.
#[derive(Debug, Default)]
pub(crate) struct Standing<'e> {
    /// With the same value, and a lease or none as it should be.
    pub(crate) same: usize,
    pub(crate) missing: Vec<&'e Entry>,
    /// There with something else, last changed at this revision.
    pub(crate) others: Vec<(&'e Entry, i64)>,
}

impl Copy<'_> {
    /// Looks at what is there.
    pub(crate) async fn look<'e>(&self, entries: &'e [Entry]) -> Result<Standing<'e>, Failure> {
        let there = self.keys().await?;
        let mut standing = Standing::default();
        for entry in entries {
            match there.get(&entry.key) {
                None => standing.missing.push(entry),
                Some(kv) if is_same(entry, kv) => standing.same += 1,
                Some(kv) => standing.others.push((entry, kv.mod_revision)),
            }
        }
        Ok(standing)
    }

    /// Writes what is missing and replaces what is different. The revision of the last piece.
    pub(crate) async fn write(&self, standing: &Standing<'_>) -> Result<i64, Failure> {
        let missing = standing.missing.iter().map(|entry| (*entry, 0));
        let all: Vec<(&Entry, i64)> = missing.chain(standing.others.iter().copied()).collect();
        let (mut revision, mut rest) = (0, all.as_slice());
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |(entry, _): &&(&Entry, i64)| {
                bytes += entry.key.len() + entry.value.len();
                bytes <= PIECE_BYTES_MAX
            };
            let length = rest.iter().take(PIECE_KEYS_MAX).take_while(fits).count().max(1);
            let (piece, later) = rest.split_at(length);
            revision = self.write_piece(piece).await?;
            self.written.fetch_add(length, Ordering::Relaxed);
            rest = later;
        }
        Ok(revision)
    }

    /// Whether every key is there as it was read; how many were looked at. Those whose time is over count.
    pub(crate) async fn verify(&self, entries: &[Entry]) -> Result<usize, Failure> {
        let there = self.keys().await?;
        let is_over = |entry: &Entry| entry.ttl.is_some_and(|ttl| self.left(ttl) <= 0);
        let wrong = entries.iter().filter(|entry| match there.get(&entry.key) {
            Some(kv) => kv.value != entry.value,
            None => !is_over(entry),
        });
        let wrong: Vec<String> =
            wrong.map(|entry| format!("differs: {}", String::from_utf8_lossy(&entry.key))).collect();
        if wrong.is_empty() {
            return Ok(entries.len());
        }
        let text = format!("{} keys are not what was copied: somebody else writes them", wrong.len());
        let details = wrong.into_iter().take(super::NAMED_MAX).collect();
        Err(Failure { details, ..Failure::error(text) })
    }

    async fn write_piece(&self, piece: &[(&Entry, i64)]) -> Result<i64, Failure> {
        let mut leases = Vec::new();
        let (mut compare, mut success) = (Vec::new(), Vec::new());
        for (entry, seen) in piece {
            let lease = match entry.ttl {
                Some(ttl) => self.grant(ttl).await?,
                None => 0,
            };
            leases.push(lease);
            compare.push(unchanged(entry.key.clone(), *seen));
            let (key, value) = (entry.key.clone(), entry.value.clone());
            let put = PutRequest { key, value, lease, ..PutRequest::default() };
            success.push(RequestOp { request: Some(request_op::Request::RequestPut(put)) });
        }
        let request = TxnRequest { compare, success, failure: Vec::new() };
        let reply = self.client.call(request, self.patience).await?;
        if reply.succeeded {
            return Ok(reply.header.map_or(0, |header| header.revision));
        }
        for id in leases.into_iter().filter(|id| *id != 0) {
            self.client.call(LeaseRevokeRequest { id }, self.patience).await?;
        }
        Err(Failure {
            details: vec!["hint: run it again; what was copied is kept".to_owned()],
            ..Failure::error("keys were written by somebody else while they were copied")
        })
    }

    async fn grant(&self, ttl: i64) -> Result<i64, Failure> {
        let request = LeaseGrantRequest { ttl: self.left(ttl).max(1), id: 0 };
        Ok(self.client.call(request, self.patience).await?.id)
    }

    /// What is left now of seconds that were left when the source was read.
    fn left(&self, ttl: i64) -> i64 {
        ttl.saturating_sub(i64::try_from(self.read.elapsed().as_secs()).unwrap_or(i64::MAX))
    }

    /// Everything below the prefix.
    async fn keys(&self) -> Result<BTreeMap<Bytes, KeyValue>, Failure> {
        let prefix = Bytes::copy_from_slice(self.prefix.as_bytes());
        let range_end = if prefix.is_empty() { Bytes::from_static(b"\0") } else { prefix_end(&prefix) };
        let mut key = if prefix.is_empty() { Bytes::from_static(b"\0") } else { prefix };
        let mut keys = BTreeMap::new();
        let mut revision = 0;
        loop {
            let request = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: PAGE_KEYS,
                revision,
                ..RangeRequest::default()
            };
            let reply = self.client.call(request, self.patience).await?;
            if revision == 0 {
                revision = reply.header.map_or(0, |header| header.revision);
            }
            if let Some(last) = reply.kvs.last() {
                key = [&last.key[..], b"\0"].concat().into();
            }
            keys.extend(reply.kvs.into_iter().map(|kv| (kv.key.clone(), kv)));
            if !reply.more {
                return Ok(keys);
            }
        }
    }
}

fn is_same(entry: &Entry, kv: &KeyValue) -> bool {
    kv.value == entry.value && (kv.lease != 0) == entry.ttl.is_some()
}

/// That nobody has changed a key since it was looked at; zero is that it is not there.
fn unchanged(key: Bytes, seen: i64) -> Compare {
    let (target, union) = if seen == 0 {
        (CompareTarget::Create, TargetUnion::CreateRevision(0))
    } else {
        (CompareTarget::Mod, TargetUnion::ModRevision(seen))
    };
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key,
        target_union: Some(union),
        ..Compare::default()
    }
}
