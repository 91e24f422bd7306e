//! A range answered in parts: the revision stands still while the client takes one after the other.
//!
//! Between two parts nothing is held but where to go on. A compaction beyond the revision ends the stream with a
//! fault.

use std::sync::Arc;

use api::{Caller, Consistency, Fault, Header, RangeStream, Reply};
use async_trait::async_trait;
use mvcc::PageLimits;
use types::{KeyRange, RangeQuery, RangeReply, Revision, SortOrder, SortTarget};

use crate::asking::{self, LargeReads};
use crate::doorkeeper::refused;
use crate::member::{House, Member};

/// A part ends with the pair that makes it this large, in bytes.
const PART_BYTES_MAX: usize = 512 << 10;

/// And holds no more pairs than this.
const PART_KEYS_MAX: usize = 16 << 10;

/// See the module.
struct Parts {
    house: Arc<House>,
    caller: Caller,
    /// What was asked for, which the caller must be allowed to read for as long as he does.
    range: KeyRange,
    turns: LargeReads,
    header: Header,
    at: Revision,
    keys_only: bool,
    /// `None` after the last part.
    rest: Option<KeyRange>,
    /// Pairs that may still be sent; `None` is no limit.
    left: Option<u64>,
    sent: u64,
    /// Keys in the range, where a limit keeps the stream from counting them.
    count: Option<u64>,
}

impl Member {
    /// Begins to answer a range in parts.
    pub(crate) async fn parts(
        &self,
        caller: &Caller,
        query: RangeQuery,
        consistency: Consistency,
    ) -> Result<Box<dyn RangeStream>, Fault> {
        if query.target != SortTarget::Key || query.order == SortOrder::Descend {
            return Err(Fault::StreamSorted);
        }
        if query.mod_bounds.is_bounded() || query.create_bounds.is_bounded() {
            return Err(Fault::StreamFiltered);
        }
        self.linearize(consistency).await?;
        self.house.enter(caller)?.pass.read(&query.range).map_err(refused)?;
        self.measures.tally.range();
        let (range, limit) = (query.range.clone(), query.limit);
        let count_first = query.count_only || limit > 0;
        let begin = move |rooms: &crate::rooms::Rooms| {
            let (at, current) = rooms.mvcc.admit(query.at)?;
            let counting = RangeQuery { count_only: true, at: Some(at), ..query };
            let count = if count_first { Some(rooms.mvcc.range(&counting)?.1.count) } else { None };
            Ok((at, current, count, query.keys_only, query.count_only))
        };
        let (at, current, count, keys_only, count_only) =
            self.aside(begin).await?.map_err(|error| self.unreadable(error))?;
        let left = if count_only { Some(0) } else { (limit > 0).then_some(limit) };
        Ok(Box::new(Parts {
            house: Arc::clone(&self.house),
            caller: caller.clone(),
            range: range.clone(),
            turns: Arc::clone(&self.large_reads),
            header: self.header_at(current),
            at,
            keys_only,
            rest: Some(range),
            left,
            sent: 0,
            count,
        }))
    }
}

#[async_trait]
impl RangeStream for Parts {
    async fn next(&mut self) -> Result<Option<Reply<RangeReply>>, Fault> {
        let Some(range) = self.rest.clone() else { return Ok(None) };
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        let entry = self.house.enter(&self.caller)?;
        entry.pass.read(&self.range).map_err(refused)?;
        let keys_max = self.left.map_or(PART_KEYS_MAX, |left| PART_KEYS_MAX.min(left as usize));
        let (kvs, rest) = if keys_max == 0 {
            (Vec::new(), None)
        } else {
            let limits = PageLimits { keys_max, bytes_max: PART_BYTES_MAX, keys_only: self.keys_only };
            let at = self.at;
            let page = asking::aside(&self.turns, &self.house.wing, move |rooms| {
                rooms.mvcc.page(&range, at, limits)
            })
            .await?
            .map_err(|error| self.house.unreadable(error))?;
            (page.kvs, page.rest)
        };
        if !self.house.holds(&entry) {
            self.house.enter(&self.caller)?.pass.read(&self.range).map_err(refused)?;
        }
        self.sent += kvs.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(kvs.len() as u64));
        self.rest = rest.filter(|_| self.left != Some(0));
        let mut body = RangeReply { kvs, more: false, count: 0 };
        if self.rest.is_none() {
            body.count = self.count.unwrap_or(self.sent);
            body.more = self.left.is_some() && self.sent > 0 && body.count > self.sent;
        }
        Ok(Some(Reply { header: self.header, body }))
    }
}
