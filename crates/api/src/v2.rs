//! The v2 keyspace at the door: answers with what their headers need, and waits for what happens next.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use types::{Index, Term, v2};

/// An answer of the v2 keyspace, with what its headers need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Reply {
    /// The answer or the refusal.
    pub result: Result<Arc<v2::Event>, v2::Refusal>,
    /// `X-Raft-Index`: the last index committed.
    pub raft_index: Index,
    /// `X-Raft-Term`.
    pub raft_term: Term,
}

/// How long a v2 write lets its node live, as the client said it. The member's clock makes it absolute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum V2Ttl {
    /// For ever.
    #[default]
    Never,
    /// This many seconds from now.
    Seconds(u64),
}

/// An event on its way to any number of those who wait, and what the door has made of it, once for all of them.
#[derive(Debug)]
pub struct V2News {
    /// What happened.
    pub event: Arc<v2::Event>,
    /// The event as it goes over the wire; whoever needs it first puts it there.
    pub wire: OnceLock<Bytes>,
}

/// A wait that has begun, with what its headers need.
pub struct V2Watching {
    /// `X-Etcd-Index`: where the keyspace stood when the wait began. What came later is not missed.
    pub index: u64,
    /// `X-Raft-Index`: the last index committed.
    pub raft_index: Index,
    /// `X-Raft-Term`.
    pub raft_term: Term,
    /// What happens.
    pub events: Box<dyn V2Events>,
}

/// What a wait is told. Dropping it ends the wait.
#[async_trait]
pub trait V2Events: Send {
    /// The next event; `None` when the wait is over. May be dropped while it waits without losing one.
    async fn next(&mut self) -> Option<Arc<V2News>>;
}
