//! Many answers to one question.

use std::marker::PhantomData;
use std::time::Duration;

use proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use proto::v3electionpb::{LeaderRequest, LeaderResponse};
use tonic::codec::Streaming;

use crate::client::Client;
use crate::fault::{Failure, Fault, Trouble};

/// A question with many answers.
pub trait Question: prost::Message + Clone + 'static {
    /// What comes back, again and again.
    type Answer: prost::Message + Default + 'static;
    /// The path of the method.
    const PATH: &'static str;
}

impl Question for SnapshotRequest {
    type Answer = SnapshotResponse;
    const PATH: &'static str = "/etcdserverpb.Maintenance/Snapshot";
}

impl Question for LeaderRequest {
    type Answer = LeaderResponse;
    const PATH: &'static str = "/v3electionpb.Election/Observe";
}

/// The answers of one member, until the stream ends.
#[derive(Debug)]
pub struct Answers<Q: Question> {
    stream: Streaming<Q::Answer>,
    place: String,
    question: PhantomData<Q>,
}

impl Client {
    /// Asks for a stream of answers; the patience is for its first sign of life.
    pub async fn ask<Q: Question>(
        &self,
        question: Q,
        patience: Option<Duration>,
    ) -> Result<Answers<Q>, Fault> {
        let once = || tokio_stream::once(question.clone());
        let stream = self.stream(Q::PATH, once, patience).await?;
        let place = self.endpoints().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Ok(Answers { stream, place, question: PhantomData })
    }
}

impl<Q: Question> Answers<Q> {
    /// The next one; nothing when the member has said all.
    pub async fn next(&mut self) -> Option<Result<Q::Answer, Fault>> {
        match self.stream.message().await {
            Ok(Some(answer)) => Some(Ok(answer)),
            Ok(None) => None,
            Err(status) => Some(Err(match Trouble::from(status) {
                Trouble::Refused(status) | Trouble::Credentials(status) => Fault::Refused(status),
                Trouble::NotSent(reason) | Trouble::Broken(reason) => {
                    Fault::Cut { failure: Failure { place: self.place.clone(), reason } }
                }
            })),
        }
    }
}
