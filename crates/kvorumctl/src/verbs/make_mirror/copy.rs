//! The first part of a mirror: everything as it is at one revision, page by page, several transactions at a time.
//!
//! INVARIANT: all of it is written before the position says so; what comes late then finds another position and writes
//! nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, RangeRequest};
use proto::mvccpb::KeyValue;
use tokio::task::JoinSet;

use super::Mirror;
use super::position::Stage;
use super::write::{Writer, pieces};
use crate::failure::{Done, Failure};
use crate::verbs::shown::open_range;

/// Keys that are read at once: at first, and at most.
const PAGE_KEYS: i64 = 100;
const PAGE_KEYS_MAX: i64 = 1000;

/// How large a page may be, in bytes, if keys and values are like those of the last one.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Transactions that are under way at once.
const WRITES_MAX: usize = 4;

/// Keys that were read at once.
pub(super) struct Page {
    pub(super) pairs: Vec<KeyValue>,
    /// The revision at which they were read.
    pub(super) revision: i64,
    /// What is before the next page; none behind the last one.
    pub(super) next: Option<Bytes>,
}

impl Mirror {
    /// Copies what there is; answers at which revision. With a position it removes what is there and not here.
    pub(super) async fn copy(&mut self) -> Result<i64, Failure> {
        let (mut key, mut at, mut limit) = (self.range().0, 0, PAGE_KEYS);
        let mut writes = JoinSet::new();
        self.progress.copies();
        loop {
            let page = self.page(key.clone(), at, limit).await?;
            if at == 0 && self.position.is_some() {
                self.write(Vec::new(), Some(Stage::Copying(page.revision))).await?;
            }
            at = page.revision;
            limit = next_limit(&page);
            let mut requests = Vec::new();
            if self.position.is_some() {
                requests = self.surplus(&key, &page).await?;
            }
            requests.extend(page.pairs.iter().filter_map(|pair| self.put(pair)));
            for piece in pieces(requests, self.operations_max()) {
                if writes.len() >= WRITES_MAX {
                    joined(&mut writes).await?;
                }
                let mut writer = self.writer();
                writes.spawn(async move { writer.write(piece, None).await });
            }
            let Some(next) = page.next else { break };
            key = next;
        }
        while !writes.is_empty() {
            joined(&mut writes).await?;
        }
        self.write(Vec::new(), Some(Stage::At(at))).await?;
        Ok(at)
    }

    async fn page(&self, key: Bytes, at: i64, limit: i64) -> Result<Page, Failure> {
        let range_end = self.range().1;
        let request = RangeRequest { key, range_end, limit, revision: at, ..Default::default() };
        let page = self.insist(&self.source, request).await?;
        let revision = if at == 0 { page.header.map_or(0, |header| header.revision) } else { at };
        let next = page.kvs.last().filter(|_| page.more).map(|last| behind(&last.key));
        Ok(Page { pairs: page.kvs, revision, next })
    }

    /// What is to be removed there, from where `begin` is to where the next page is.
    async fn surplus(&self, begin: &Bytes, page: &Page) -> Result<Vec<Request>, Failure> {
        let known: BTreeSet<Bytes> = page.pairs.iter().map(|pair| self.renamed(&pair.key)).collect();
        let end = self.target_range().1;
        let range_end = page.next.as_ref().map_or(end, |next| self.renamed(next));
        let mut key = self.renamed(begin);
        let mut surplus = Vec::new();
        loop {
            let range_end = range_end.clone();
            let limit = PAGE_KEYS_MAX;
            let request = RangeRequest { key, range_end, limit, keys_only: true, ..Default::default() };
            let there = self.insist(&self.target, request).await?;
            for pair in &there.kvs {
                if !known.contains(&pair.key) && !self.is_position(&pair.key) {
                    let key = pair.key.clone();
                    surplus
                        .push(Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() }));
                }
            }
            let Some(last) = there.kvs.last().filter(|_| there.more) else { return Ok(surplus) };
            key = behind(&last.key);
        }
    }

    /// Where the mirror is at the destination: a prefix that is its own, or everything.
    pub(super) fn target_range(&self) -> (Bytes, Bytes) {
        let flags = &self.flags;
        let whole = match flags.dest_prefix.as_str() {
            "" if flags.no_dest_prefix => "",
            "" => flags.prefix.as_str(),
            prefix => prefix,
        };
        open_range(whole.to_owned().into_bytes().into(), true, false)
    }

    /// Somebody who writes and leaves the position as it is.
    fn writer(&self) -> Writer {
        Writer {
            target: self.target.clone(),
            patience: self.patience,
            progress: std::sync::Arc::clone(&self.progress),
            position: self.position.clone(),
        }
    }
}

async fn joined(writes: &mut JoinSet<Done>) -> Done {
    match writes.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) => Err(Failure::error(error.to_string())),
        None => Ok(()),
    }
}

/// The least key behind this one.
pub(super) fn behind(key: &[u8]) -> Bytes {
    [key, b"\0"].concat().into()
}

/// How many keys of the same size make a page that is not too large.
fn next_limit(page: &Page) -> i64 {
    let bytes: usize = page.pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    let each = (bytes / page.pairs.len().max(1)).max(1);
    i64::try_from(PAGE_BYTES / each).unwrap_or(PAGE_KEYS_MAX).clamp(1, PAGE_KEYS_MAX)
}
