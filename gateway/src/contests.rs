//! The v3 calls of locks and elections.

use std::sync::Arc;

use api::{Code, Member};
use concurrency::LeaderKey;
use proto::{v3electionpb as election, v3lockpb as pb};
use types::{LeaseId, Revision};

use crate::calls::voting;
use crate::convert;
use crate::refusal::Refusal;
use crate::stream::Call;

pub(crate) async fn lock(
    member: &Arc<dyn Member>,
    request: pb::LockRequest,
) -> Result<pb::LockResponse, Refusal> {
    voting(member)?;
    let held = concurrency::lock(member, request.name, LeaseId(request.lease)).await?;
    Ok(pb::LockResponse { header: Some(convert::header(held.header)), key: held.key })
}

pub(crate) async fn unlock(
    member: &Arc<dyn Member>,
    request: pb::UnlockRequest,
) -> Result<pb::UnlockResponse, Refusal> {
    voting(member)?;
    let header = concurrency::unlock(member, request.key).await?;
    Ok(pb::UnlockResponse { header: Some(convert::header(header)) })
}

pub(crate) async fn campaign(
    member: &Arc<dyn Member>,
    request: election::CampaignRequest,
) -> Result<election::CampaignResponse, Refusal> {
    voting(member)?;
    let lease = LeaseId(request.lease);
    let elected = concurrency::campaign(member, request.name, lease, request.value).await?;
    let LeaderKey { name, key, rev, lease } = elected.leader;
    let leader = election::LeaderKey { name, key, rev: rev.to_wire(), lease: lease.0 };
    Ok(election::CampaignResponse { header: Some(convert::header(elected.header)), leader: Some(leader) })
}

pub(crate) async fn proclaim(
    member: &Arc<dyn Member>,
    request: election::ProclaimRequest,
) -> Result<election::ProclaimResponse, Refusal> {
    voting(member)?;
    let header = concurrency::proclaim(member, &leader_key(request.leader)?, request.value).await?;
    Ok(election::ProclaimResponse { header: Some(convert::header(header)) })
}

pub(crate) async fn leader(
    member: &Arc<dyn Member>,
    request: election::LeaderRequest,
) -> Result<election::LeaderResponse, Refusal> {
    voting(member)?;
    let (header, kv) = concurrency::leader(member, request.name).await?;
    Ok(election::LeaderResponse { header: Some(convert::header(header)), kv: Some(convert::key_value(kv)) })
}

pub(crate) async fn resign(
    member: &Arc<dyn Member>,
    request: election::ResignRequest,
) -> Result<election::ResignResponse, Refusal> {
    voting(member)?;
    let header = concurrency::resign(member, &leader_key(request.leader)?).await?;
    Ok(election::ResignResponse { header: Some(convert::header(header)) })
}

/// Tells who leads, and what it says, until the client goes.
pub(crate) async fn observe(mut call: Call) -> Result<(), Refusal> {
    call.admit().await?;
    let request: election::LeaderRequest = call.only_request().await?;
    let mut observer = concurrency::observe(Arc::clone(&call.member), request.name);
    loop {
        let (header, kv) = observer.next().await?;
        let header = Some(convert::header(header));
        call.outlet.put(&election::LeaderResponse { header, kv: Some(convert::key_value(kv)) })?;
        call.outlet.flush().await;
    }
}

/// A key that this member never made is as good as one that is gone.
fn leader_key(leader: Option<election::LeaderKey>) -> Result<LeaderKey, Refusal> {
    let missing = || Refusal::new(Code::Unknown, "\"leader\" field must be provided");
    let election::LeaderKey { name, key, rev, lease } = leader.ok_or_else(missing)?;
    let rev = Revision::from_wire(rev).unwrap_or_default();
    Ok(LeaderKey { name, key, rev, lease: LeaseId(lease) })
}
