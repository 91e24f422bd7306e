//! gRPC's own health service. As in etcd it knows one service, the whole, which is well for as long as it answers:
//! whether the cluster is, `/health` and `/readyz` tell.

use std::sync::Arc;

use api::{Code, Member};
use proto::health as pb;
use proto::health::health_check_response::ServingStatus;

use crate::calls::voting;
use crate::refusal::Refusal;
use crate::stream::Call;

pub(crate) async fn check(
    member: &Arc<dyn Member>,
    request: pb::HealthCheckRequest,
) -> Result<pb::HealthCheckResponse, Refusal> {
    voting(member)?;
    match status(&request) {
        ServingStatus::ServiceUnknown => Err(Refusal::new(Code::NotFound, "unknown service")),
        status => Ok(pb::HealthCheckResponse { status: status.into() }),
    }
}

/// Tells the status, which does not change, until the client goes.
pub(crate) async fn watch(mut call: Call) -> Result<(), Refusal> {
    call.admit().await?;
    let request: pb::HealthCheckRequest = call.only_request().await?;
    call.outlet.put(&pb::HealthCheckResponse { status: status(&request).into() })?;
    call.outlet.flush().await;
    std::future::pending().await
}

fn status(request: &pb::HealthCheckRequest) -> ServingStatus {
    if request.service.is_empty() { ServingStatus::Serving } else { ServingStatus::ServiceUnknown }
}
