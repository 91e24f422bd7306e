//! Which future a streaming call is, and what all of them do first.

use api::{Code, Fault};
use prost::Message;

use crate::refusal::Refusal;
use crate::rpc::Rpc;
use crate::stream::{Call, Running};
use crate::{contests, health, leases, reflection, upkeep, watches};

/// The future that a call is. Each has a box of its size, since there may be very many of one kind.
pub(crate) fn begin(call: Call) -> Running {
    match call.rpc {
        Rpc::Watch => Box::pin(watches::serve(call)),
        Rpc::LeaseKeepAlive => Box::pin(leases::keep_alive(call)),
        Rpc::Observe => Box::pin(contests::observe(call)),
        Rpc::RangeStream => Box::pin(upkeep::range_stream(call)),
        Rpc::Snapshot => Box::pin(upkeep::snapshot(call)),
        Rpc::HealthWatch => Box::pin(health::watch(call)),
        Rpc::Reflection | Rpc::OldReflection => Box::pin(reflection::serve(call)),
        other => Box::pin(async move { Err(Refusal::unimplemented(other.names().1)) }),
    }
}

impl Call {
    /// Whether the call may begin at all.
    pub(crate) async fn admit(&self) -> Result<(), Refusal> {
        let member = self.shared.member.as_ref();
        // A learner gives what it has to an operator, and serves nobody else.
        if member.is_learner() && self.rpc != Rpc::Snapshot {
            return Err(Fault::LearnerUnsupported.into());
        }
        self.shared.meters.opened(self.metadata.version());
        self.metadata.check(member).await
    }

    /// The request of a call that has one.
    pub(crate) async fn only_request<Q: Message + Default>(&mut self) -> Result<Q, Refusal> {
        self.inlet.next().await?.ok_or_else(|| Refusal::new(Code::Internal, "EOF"))
    }
}
