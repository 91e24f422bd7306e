//! Many unary calls of one method, each with a request of its own, with many on their way at once.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::http2::Http2;
use crate::wire::{Broken, Wire as _};

const IN_FLIGHT: usize = 512;
const READ_BYTES: usize = 64 << 10;
/// Time for all of them.
const ALL_MAX: Duration = Duration::from_mins(2);

/// Calls `method` for each number below `count`; `request` writes the message of one. All must end well.
pub(super) async fn call(
    authority: &str,
    method: &str,
    count: u64,
    request: impl FnMut(u64, &mut Vec<u8>),
) -> Result<()> {
    let done = timeout(ALL_MAX, work(authority, method, count, request)).await;
    done.context("not done in time").flatten().with_context(|| format!("{count} calls of {method}"))
}

async fn work(
    authority: &str,
    method: &str,
    count: u64,
    mut request: impl FnMut(u64, &mut Vec<u8>),
) -> Result<()> {
    let broken = |Broken(text)| anyhow!(text);
    let mut socket = TcpStream::connect(authority).await?;
    socket.set_nodelay(true)?;
    let mut wire = Http2::new(authority, method, IN_FLIGHT, 0);
    let mut idle: Vec<usize> = (0..IN_FLIGHT).collect();
    let (mut started, mut ended) = (0, 0);
    let (mut message, mut input, mut finished) = (Vec::new(), BytesMut::new(), Vec::new());
    while ended < count {
        while started < count {
            let Some(slot) = idle.pop() else { break };
            message.clear();
            request(started, &mut message);
            wire.start(slot, &message).map_err(broken)?;
            started += 1;
        }
        while wire.output().has_remaining() {
            socket.write_buf(wire.output()).await?;
        }
        input.reserve(READ_BYTES);
        if socket.read_buf(&mut input).await? == 0 {
            bail!("closed by the server");
        }
        wire.receive(&mut input, &mut finished).map_err(broken)?;
        for call in finished.drain(..) {
            if let Some(text) = call.failure {
                bail!(text);
            }
            idle.push(call.slot);
            ended += 1;
        }
    }
    Ok(())
}
