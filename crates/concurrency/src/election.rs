//! Elections: locks whose key has something to say.

use std::sync::Arc;

use api::{Consistency, Fault, Header, Member, Reply};
use bytes::Bytes;
use types::{Key, KeyRange, KeyValue, LeaseId, OpReply, Put, RangeQuery, Revision, Txn, TxnOp, TxnReply};

use crate::claim::{self, Claim};
use crate::fault::passed_on;
use crate::{session, wait};

/// What a leader leads with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderKey {
    /// The election.
    pub name: Bytes,
    /// The leader leads for as long as this key is there.
    pub key: Bytes,
    /// The revision at which the key was made.
    pub rev: Revision,
    /// The lease that it goes with.
    pub lease: LeaseId,
}

/// A campaign that was won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    /// Who answered, and when: when the campaign began, as in etcd.
    pub header: Header,
    /// What the winner leads with.
    pub leader: LeaderKey,
}

/// Waits until `lease` leads the election, saying `value`. The fault is [`Fault::NotElected`] if the lease ends
/// meanwhile.
pub async fn campaign(
    member: &Arc<dyn Member>,
    name: Bytes,
    lease: LeaseId,
    value: Bytes,
) -> Result<Elected, Fault> {
    run(member, name, lease, value).await.map_err(passed_on)
}

/// Says something else as the leader.
pub async fn proclaim(member: &Arc<dyn Member>, leader: &LeaderKey, value: Bytes) -> Result<Header, Fault> {
    say(member, leader, value).await.map_err(passed_on)
}

/// Who leads, and what it says. The fault is [`Fault::NoElectedLeader`] if nobody does.
pub async fn leader(member: &Arc<dyn Member>, name: Bytes) -> Result<(Header, KeyValue), Fault> {
    let found = member.range(session::first(&name), Consistency::Linearizable).await.map_err(passed_on)?;
    match found.body.kvs.into_iter().next() {
        Some(kv) => Ok((found.header, kv)),
        None => Err(Fault::NoElectedLeader),
    }
}

/// Gives the lead up. That it is not held is no fault.
pub async fn resign(member: &Arc<dyn Member>, leader: &LeaderKey) -> Result<Header, Fault> {
    let key = Key::new(leader.key.clone()).ok_or_else(|| passed_on(Fault::EmptyKey))?;
    let reply = member.txn(claim::removal(&key, leader.rev), false).await.map_err(passed_on)?;
    Ok(reply.header)
}

async fn run(member: &Arc<dyn Member>, name: Bytes, lease: LeaseId, value: Bytes) -> Result<Elected, Fault> {
    let lease = session::lease(member, lease).await?;
    let key = session::key(&name, lease);
    let own = TxnOp::Range(RangeQuery::of(KeyRange::single(key.clone())));
    let txn = claim::entry(&key, vec![put(&key, &value, lease)], vec![own]);
    let mut claim = Claim::begin(member, key, txn);
    let (reply, rev) = claim.entered().await?;
    let leader = LeaderKey { name, key: claim.key().as_bytes().clone(), rev, lease };
    match wait_for_lead(member, &leader, value, &reply).await {
        Ok(()) => {
            claim.keep();
            Ok(Elected { header: reply.header, leader })
        }
        Err(fault) => {
            claim.give_back().await;
            Err(fault)
        }
    }
}

async fn wait_for_lead(
    member: &Arc<dyn Member>,
    leader: &LeaderKey,
    value: Bytes,
    entered: &Reply<TxnReply>,
) -> Result<(), Fault> {
    // The key was there before, perhaps with other words.
    if let Some(OpReply::Range(range)) = entered.body.responses.first().map(|response| &response.reply)
        && range.kvs.first().is_some_and(|kv| kv.value != value)
    {
        say(member, leader, value).await?;
    }
    if wait::for_turn(member, &leader.name, &leader.key, leader.rev).await? {
        Ok(())
    } else {
        Err(Fault::NotElected)
    }
}

async fn say(member: &Arc<dyn Member>, leader: &LeaderKey, value: Bytes) -> Result<Header, Fault> {
    let key = Key::new(leader.key.clone()).ok_or(Fault::EmptyKey)?;
    let txn = Txn {
        compare: vec![claim::created_at(&key, leader.rev.to_wire())],
        success: vec![put(&key, &value, leader.lease)],
        failure: Vec::new(),
    };
    let reply = member.txn(txn, false).await?;
    if reply.body.succeeded { Ok(reply.header) } else { Err(Fault::NotElected) }
}

fn put(key: &Key, value: &Bytes, lease: LeaseId) -> TxnOp {
    TxnOp::Put(Put {
        key: key.clone(),
        value: value.clone(),
        lease,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}
