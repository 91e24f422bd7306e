//! The lease behind a key, and the keys of a name.

use std::sync::Arc;

use api::{Fault, Member};
use bytes::Bytes;
use types::{Key, KeyRange, LeaseId, RangeEnd, RangeQuery, SortOrder, SortTarget};

/// How long a lease lives, in seconds, that is made for a caller who brings none. Nobody keeps it alive.
const TTL: i64 = 60;

/// The lease that the caller brings, or a new one.
pub(crate) async fn lease(member: &Arc<dyn Member>, lease: LeaseId) -> Result<LeaseId, Fault> {
    if lease.is_some() {
        return Ok(lease);
    }
    Ok(member.lease_grant(LeaseId::NONE, TTL).await?.body.id)
}

/// The key of a lease under a name. Go prints a negative number as its size behind a sign.
pub(crate) fn key(name: &[u8], lease: LeaseId) -> Key {
    let sign = if lease.0 < 0 { "-" } else { "" };
    let mut key = name.to_vec();
    key.extend_from_slice(format!("/{sign}{:x}", lease.0.unsigned_abs()).as_bytes());
    Key::new(key.into()).expect("it has a slash at least")
}

/// All keys under a name.
pub(crate) fn keys(name: &[u8]) -> KeyRange {
    let with = |last: u8| -> Bytes { [name, &[last]].concat().into() };
    // The byte after the slash ends the prefix.
    KeyRange { start: with(b'/'), end: RangeEnd::Before(with(b'/' + 1)) }
}

/// Asks for the key under a name that was made first, which is its owner's.
pub(crate) fn first(name: &[u8]) -> RangeQuery {
    RangeQuery {
        order: SortOrder::Ascend,
        target: SortTarget::Create,
        limit: 1,
        ..RangeQuery::of(keys(name))
    }
}
