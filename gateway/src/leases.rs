//! The v3 calls about leases.

use api::Member;
use proto::etcdserverpb as pb;
use types::LeaseId;

use crate::calls::voting;
use crate::convert;
use crate::refusal::Refusal;

pub(crate) async fn grant(
    member: &dyn Member,
    request: pb::LeaseGrantRequest,
) -> Result<pb::LeaseGrantResponse, Refusal> {
    voting(member)?;
    let reply = member.lease_grant(LeaseId(request.id), request.ttl).await?;
    let header = Some(convert::header(reply.header));
    Ok(pb::LeaseGrantResponse { header, id: reply.body.id.0, ttl: reply.body.ttl, error: String::new() })
}

pub(crate) async fn revoke(
    member: &dyn Member,
    request: pb::LeaseRevokeRequest,
) -> Result<pb::LeaseRevokeResponse, Refusal> {
    voting(member)?;
    let reply = member.lease_revoke(LeaseId(request.id)).await?;
    Ok(pb::LeaseRevokeResponse { header: Some(convert::header(reply.header)) })
}

pub(crate) async fn time_to_live(
    member: &dyn Member,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Refusal> {
    voting(member)?;
    let reply = member.lease_time_to_live(LeaseId(request.id), request.keys).await?;
    Ok(pb::LeaseTimeToLiveResponse {
        header: Some(convert::header(reply.header)),
        id: reply.body.id.0,
        ttl: reply.body.ttl,
        granted_ttl: reply.body.granted_ttl,
        keys: reply.body.keys,
    })
}

pub(crate) async fn list(
    member: &dyn Member,
    _request: pb::LeaseLeasesRequest,
) -> Result<pb::LeaseLeasesResponse, Refusal> {
    voting(member)?;
    let reply = member.leases().await?;
    let leases = reply.body.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
    Ok(pb::LeaseLeasesResponse { header: Some(convert::header(reply.header)), leases })
}
