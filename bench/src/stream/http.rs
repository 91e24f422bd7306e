//! One connection over HTTP/1.1, one request after the other.

use anyhow::{Result, anyhow, bail};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wire::http1::Http1;
use crate::wire::{Broken, Wire as _};

const READ_BYTES: usize = 16 << 10;
/// What is kept of an answer.
const BODY_BYTES_MAX: usize = 4096;

/// See the module.
pub(super) struct Talk {
    socket: TcpStream,
    host: String,
    wire: Http1,
    input: BytesMut,
    request: Vec<u8>,
}

/// An answer, of which it may be known only that it was a refusal.
pub(super) struct Answer<'a> {
    /// `None` when the server answered well, else what it said.
    pub(super) failure: Option<String>,
    /// The beginning of the body.
    pub(super) body: &'a [u8],
}

impl Talk {
    /// Connects to `authority`, a `host:port`.
    pub(super) async fn connect(authority: &str) -> Result<Self> {
        let socket = TcpStream::connect(authority).await?;
        socket.set_nodelay(true)?;
        let wire = Http1::new(BODY_BYTES_MAX);
        let (input, request) = (BytesMut::new(), Vec::new());
        Ok(Self { socket, host: authority.to_owned(), wire, input, request })
    }

    /// Asks, and waits for the whole answer.
    pub(super) async fn ask(&mut self, method: &str, target: &str, form: Option<&str>) -> Result<Answer<'_>> {
        use std::io::Write as _;
        self.request.clear();
        write!(self.request, "{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host)?;
        if let Some(form) = form {
            let kind = "Content-Type: application/x-www-form-urlencoded";
            write!(self.request, "{kind}\r\nContent-Length: {}\r\n\r\n{form}", form.len())?;
        } else {
            self.request.extend_from_slice(b"\r\n");
        }
        let broken = |Broken(text)| anyhow!(text);
        self.wire.start(0, &self.request).map_err(broken)?;
        while self.wire.output().has_remaining() {
            self.socket.write_buf(self.wire.output()).await?;
        }
        let mut finished = Vec::new();
        loop {
            self.input.reserve(READ_BYTES);
            if self.socket.read_buf(&mut self.input).await? == 0 {
                bail!("closed by the server");
            }
            self.wire.receive(&mut self.input, &mut finished).map_err(broken)?;
            if let Some(call) = finished.pop() {
                return Ok(Answer { failure: call.failure, body: self.wire.body(0) });
            }
        }
    }

    /// Asks, and takes a refusal for an error.
    pub(super) async fn insist(&mut self, method: &str, target: &str, form: Option<&str>) -> Result<&[u8]> {
        let answer = self.ask(method, target, form).await?;
        match answer.failure {
            None => Ok(answer.body),
            Some(text) => bail!(text),
        }
    }
}
