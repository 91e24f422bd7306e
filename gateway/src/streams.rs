//! Which future a streaming call is, and what all of them do first.

use std::sync::Arc;

use api::{Code, Fault, WatchStream};
use prost::Message;

use crate::refusal::Refusal;
use crate::rpc::Rpc;
use crate::stream::{Call, Running};
use crate::{contests, health, leases, reflection, upkeep, watches};

/// The future that a call is.
pub(crate) fn begin(call: Call) -> Running {
    // Watches look after that themselves.
    if call.metadata.requires_leader() && call.rpc != Rpc::Watch {
        return with_leader(call);
    }
    future(call)
}

/// A call that ends when the leader is lost, which a stream of no watches tells.
fn with_leader(call: Call) -> Running {
    let shared = Arc::clone(&call.shared);
    let running = future(call);
    Box::pin(async move {
        let mut leader = shared.member.watch(true)?;
        tokio::select! {
            biased;
            outcome = running => outcome,
            lost = lost(leader.as_mut()) => Err(lost.into()),
        }
    })
}

async fn lost(leader: &mut dyn WatchStream) -> Fault {
    loop {
        if let Err(fault) = leader.next().await {
            return fault;
        }
    }
}

/// Each has a box of its size, since there may be very many of one kind.
fn future(call: Call) -> Running {
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
    /// Whether the call may begin at all. Its metadata goes, since a stream lives long and few of its bytes are in use.
    pub(crate) async fn admit(&mut self) -> Result<(), Refusal> {
        let metadata = std::mem::take(&mut self.metadata);
        let member = self.shared.member.as_ref();
        // A learner gives what it has to an operator, and serves nobody else.
        if member.is_learner() && self.rpc != Rpc::Snapshot {
            return Err(Fault::LearnerUnsupported.into());
        }
        self.shared.meters.opened(metadata.version());
        self.member.greet().await;
        metadata.check(member).await
    }

    /// The request of a call that has one.
    pub(crate) async fn only_request<Q: Message + Default>(&mut self) -> Result<Q, Refusal> {
        self.inlet.next().await?.ok_or_else(|| Refusal::new(Code::Internal, "EOF"))
    }
}
