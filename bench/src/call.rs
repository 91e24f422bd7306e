//! One call after the other over one connection: probes, walks through many keys, words with a cluster.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::http2::Http2;
use crate::wire::{Broken, Wire as _, grpc, protobuf as pb};

const ANSWER_MAX: Duration = Duration::from_mins(1);
const RANGE: &str = "/etcdserverpb.KV/Range";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const MEMBER_ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
const MEMBER_PROMOTE: &str = "/etcdserverpb.Cluster/MemberPromote";

/// A connection that calls one method.
pub(crate) struct Caller {
    socket: TcpStream,
    wire: Http2,
    input: BytesMut,
}

impl Caller {
    /// Connects to `authority`, a `host:port`, for range requests.
    pub(crate) async fn connect(authority: &str) -> Result<Self> {
        Self::connect_for(authority, RANGE).await
    }

    /// Connects to `authority` for requests of `method`.
    pub(crate) async fn connect_for(authority: &str, method: &'static str) -> Result<Self> {
        let socket = TcpStream::connect(authority).await?;
        socket.set_nodelay(true)?;
        let wire = Http2::new(authority, method, 1, usize::MAX);
        Ok(Self { socket, wire, input: BytesMut::new() })
    }

    /// The same by somebody who shows this token.
    pub(crate) fn with_token(mut self, token: Option<&str>) -> Self {
        self.wire = self.wire.with_token(token);
        self
    }

    /// The message that answers a range request, or whatever request the connection is for.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        timeout(ANSWER_MAX, self.exchange(request)).await.context("no answer in a minute")?
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let broken = |Broken(text)| anyhow!(text);
        self.wire.start(0, request).map_err(broken)?;
        let mut finished = Vec::new();
        loop {
            let output = self.wire.output();
            while output.has_remaining() {
                self.socket.write_buf(output).await?;
            }
            self.input.reserve(64 << 10);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                bail!("closed by the server");
            }
            self.wire.receive(&mut self.input, &mut finished).map_err(broken)?;
            match finished.pop() {
                None => {}
                Some(call) => {
                    if let Some(text) = call.failure {
                        bail!(text);
                    }
                    let message = grpc::unframe(self.wire.body(0)).context("not one gRPC message")?;
                    return Ok(message.to_vec());
                }
            }
        }
    }

    /// How many keys lie from `k` to `l`, and the revision, as far as the server itself knows: a serializable read.
    pub(crate) async fn census(&mut self) -> Result<Census> {
        let mut request = Vec::new();
        pb::put_bytes(&mut request, 1, b"k");
        pb::put_bytes(&mut request, 2, b"l");
        pb::put_number(&mut request, 7, 1);
        pb::put_number(&mut request, 9, 1);
        let answer = self.call(&request).await?;
        let revision = pb::messages(&answer, 1).next().map_or(0, |header| pb::number(header, 3));
        Ok(Census { keys: pb::number(&answer, 4), revision })
    }

    /// Whether a linearizable read finds `key`; an empty `key` only asks whether the server answers.
    pub(crate) async fn finds(&mut self, key: &[u8]) -> Result<bool> {
        let mut request = Vec::new();
        pb::put_bytes(&mut request, 1, if key.is_empty() { b"probe" } else { key });
        let answer = self.call(&request).await?;
        Ok(key.is_empty() || pb::messages(&answer, 2).next().is_some())
    }
}

/// What a server has of the keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// Keys of the benchmark.
    pub(crate) keys: u64,
    /// The revision of the whole keyspace.
    pub(crate) revision: u64,
}

/// What a member says of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its own id.
    pub(crate) member: u64,
    /// The leader's id as it knows it; zero for none.
    pub(crate) leader: u64,
    /// Raft's term.
    pub(crate) term: u64,
}

/// Asks the member at `authority` for its status.
pub(crate) async fn status(authority: &str) -> Result<Status> {
    let answer = Caller::connect_for(authority, STATUS).await?.call(b"").await?;
    let member = pb::messages(&answer, 1).next().map_or(0, |header| pb::number(header, 2));
    Ok(Status { member, leader: pb::number(&answer, 4), term: pb::number(&answer, 6) })
}

/// Adds a learner with `peer_url` through the member at `authority`; returns its id.
pub(crate) async fn add_learner(authority: &str, peer_url: &str) -> Result<u64> {
    let mut request = Vec::new();
    pb::put_bytes(&mut request, 1, peer_url.as_bytes());
    pb::put_number(&mut request, 2, 1);
    let answer = Caller::connect_for(authority, MEMBER_ADD).await?.call(&request).await?;
    let id = pb::messages(&answer, 2).next().map_or(0, |member| pb::number(member, 1));
    ensure!(id != 0, "the answer names no new member");
    Ok(id)
}

/// Makes the learner `id` a voter, when the leader finds that it has caught up.
pub(crate) async fn promote(authority: &str, id: u64) -> Result<()> {
    let mut request = Vec::new();
    pb::put_number(&mut request, 1, id);
    Caller::connect_for(authority, MEMBER_PROMOTE).await?.call(&request).await.map(drop)
}
