//! The v3 calls about leases.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use api::Member;
use proto::etcdserverpb as pb;
use types::LeaseId;

use crate::calls::voting;
use crate::convert;
use crate::refusal::Refusal;
use crate::stream::{Call, Inlet};

pub(crate) async fn grant(
    member: &Arc<dyn Member>,
    request: pb::LeaseGrantRequest,
) -> Result<pb::LeaseGrantResponse, Refusal> {
    voting(member)?;
    let reply = member.lease_grant(LeaseId(request.id), request.ttl).await?;
    let header = Some(convert::header(reply.header));
    Ok(pb::LeaseGrantResponse { header, id: reply.body.id.0, ttl: reply.body.ttl, error: String::new() })
}

pub(crate) async fn revoke(
    member: &Arc<dyn Member>,
    request: pb::LeaseRevokeRequest,
) -> Result<pb::LeaseRevokeResponse, Refusal> {
    voting(member)?;
    let reply = member.lease_revoke(LeaseId(request.id)).await?;
    Ok(pb::LeaseRevokeResponse { header: Some(convert::header(reply.header)) })
}

pub(crate) async fn time_to_live(
    member: &Arc<dyn Member>,
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
    member: &Arc<dyn Member>,
    _request: pb::LeaseLeasesRequest,
) -> Result<pb::LeaseLeasesResponse, Refusal> {
    voting(member)?;
    let reply = member.leases().await?;
    let leases = reply.body.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
    Ok(pb::LeaseLeasesResponse { header: Some(convert::header(reply.header)), leases })
}

/// Keep-alives of one stream that are passed on together.
const TOGETHER_MAX: usize = 1024;

/// Keeps leases alive for as long as the client asks. All requests that have arrived are passed on at once, and answered
/// in their order; a lease that is not there has no time.
pub(crate) async fn keep_alive(mut call: Call) -> Result<(), Refusal> {
    call.admit().await?;
    loop {
        let Some(first) = call.inlet.next::<pb::LeaseKeepAliveRequest>().await? else { return Ok(()) };
        let mut ids = vec![LeaseId(first.id)];
        let end = gather(&mut call.inlet, &mut ids).await;
        let reply = call.member.lease_keep_alive(ids.clone()).await?;
        let header = convert::header(reply.header);
        for (id, ttl) in ids.into_iter().zip(reply.body) {
            call.outlet.put(&pb::LeaseKeepAliveResponse { header: Some(header), id: id.0, ttl })?;
        }
        call.outlet.flush().await;
        if let Some(end) = end {
            return end;
        }
    }
}

/// Adds what has arrived already; the end of the requests, if that has.
async fn gather(inlet: &mut Inlet, ids: &mut Vec<LeaseId>) -> Option<Result<(), Refusal>> {
    poll_fn(|cx| {
        while ids.len() < TOGETHER_MAX {
            match inlet.poll_next::<pb::LeaseKeepAliveRequest>(cx) {
                Poll::Ready(Ok(Some(request))) => ids.push(LeaseId(request.id)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Some(Ok(()))),
                Poll::Ready(Err(refusal)) => return Poll::Ready(Some(Err(refusal))),
                Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    })
    .await
}
