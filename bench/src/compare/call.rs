//! One call after the other over one connection: probes, and walks through many keys.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::http2::Http2;
use crate::wire::{Broken, Wire as _, grpc, protobuf as pb};

const ANSWER_MAX: Duration = Duration::from_mins(1);
const RANGE: &str = "/etcdserverpb.KV/Range";

/// A connection that sends range requests.
pub(super) struct Caller {
    socket: TcpStream,
    wire: Http2,
    input: BytesMut,
}

impl Caller {
    /// Connects to `authority`, a `host:port`.
    pub(super) async fn connect(authority: &str) -> Result<Self> {
        let socket = TcpStream::connect(authority).await?;
        socket.set_nodelay(true)?;
        let wire = Http2::new(authority, RANGE, 1, usize::MAX);
        Ok(Self { socket, wire, input: BytesMut::new() })
    }

    /// The message that answers a range request.
    pub(super) async fn range(&mut self, request: &[u8]) -> Result<Vec<u8>> {
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

    /// Whether a linearizable read finds `key`; an empty `key` only asks whether the server answers.
    pub(super) async fn finds(&mut self, key: &[u8]) -> Result<bool> {
        let mut request = Vec::new();
        pb::put_bytes(&mut request, 1, if key.is_empty() { b"probe" } else { key });
        let answer = self.range(&request).await?;
        Ok(key.is_empty() || pb::messages(&answer, 2).next().is_some())
    }
}
