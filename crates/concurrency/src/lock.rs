//! Locks: one owner at a time.

use std::sync::Arc;

use api::{Consistency, Fault, Header, Member};
use bytes::Bytes;
use types::{DeleteRange, Key, KeyRange, LeaseId, OpReply, Put, RangeQuery, TxnOp};

use crate::claim::{self, Claim};
use crate::fault::passed_on;
use crate::{session, wait};

/// A lock that is held for as long as its key is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHeld {
    /// Who answered, and when.
    pub header: Header,
    /// Removing it gives the lock up.
    pub key: Bytes,
}

/// Waits until `name` is held by `lease`; without one it makes a lease of a minute, which is not kept alive. Holding
/// it twice by one lease is holding it once. The fault is [`Fault::SessionExpired`] if the lease ends meanwhile.
pub async fn lock(member: &Arc<dyn Member>, name: Bytes, lease: LeaseId) -> Result<LockHeld, Fault> {
    acquire(member, &name, lease).await.map_err(passed_on)
}

/// Gives a lock up. That it is not held is no fault.
pub async fn unlock(member: &Arc<dyn Member>, key: Bytes) -> Result<Header, Fault> {
    let key = Key::new(key).ok_or_else(|| passed_on(Fault::EmptyKey))?;
    let delete = DeleteRange { range: KeyRange::single(key), prev_kv: false };
    Ok(member.delete_range(delete).await.map_err(passed_on)?.header)
}

async fn acquire(member: &Arc<dyn Member>, name: &[u8], lease: LeaseId) -> Result<LockHeld, Fault> {
    let lease = session::lease(member, lease).await?;
    let key = session::key(name, lease);
    let put = Put {
        key: key.clone(),
        value: Bytes::new(),
        lease,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    };
    let own = TxnOp::Range(RangeQuery::of(KeyRange::single(key.clone())));
    let owner = TxnOp::Range(session::first(name));
    let txn = claim::entry(&key, vec![TxnOp::Put(put), owner.clone()], vec![own, owner]);
    let mut claim = Claim::begin(member, key.clone(), txn);
    let (reply, created) = claim.entered().await?;
    let held = |header| LockHeld { header, key: key.as_bytes().clone() };
    let is_owner = match reply.body.responses.get(1).map(|response| &response.reply) {
        Some(OpReply::Range(owner)) => owner.kvs.first().is_none_or(|kv| kv.create_revision == created),
        _ => return Err(claim::odd()),
    };
    if is_owner {
        claim.keep();
        return Ok(held(reply.header));
    }
    let waited = match wait::for_turn(member, name, key.as_bytes(), created).await {
        Ok(true) => confirm(member, &key, created).await,
        Ok(false) => Err(Fault::SessionExpired),
        Err(fault) => Err(fault),
    };
    match waited {
        Ok(header) => {
            claim.keep();
            Ok(held(header))
        }
        Err(fault) => {
            claim.give_back().await;
            Err(fault)
        }
    }
}

/// Nobody is before the key any more; is it still there itself?
async fn confirm(member: &Arc<dyn Member>, key: &Key, created: types::Revision) -> Result<Header, Fault> {
    let query = RangeQuery::of(KeyRange::single(key.clone()));
    let found = member.range(query, Consistency::Linearizable).await?;
    match found.body.kvs.first() {
        Some(kv) if kv.create_revision == created => Ok(found.header),
        _ => Err(Fault::SessionExpired),
    }
}
