//! A connection with TLS and HTTP/1.1 on it, of which each byte is the test's own.

use std::sync::Arc;

use anyhow::{Context, bail};
use tls::{Client, ClientStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// See the module.
pub(crate) struct Line(pub(crate) ClientStream);

impl Line {
    pub(crate) async fn open(port: u16, tls: &Arc<Client>) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Self(tls.connect("127.0.0.1", socket).await?))
    }

    /// The head of a request whose body has so many bytes.
    pub(crate) fn head(method: &str, path: &str, bytes: usize) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {bytes}\r\n\r\n")
    }

    /// A request and its answer: status and body.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, String)> {
        self.0.write_all(Self::head(method, path, body.len()).as_bytes()).await?;
        self.0.write_all(body).await?;
        self.0.flush().await?;
        self.answer().await
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<(u16, String)> {
        let mut read = Vec::new();
        let head_bytes = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut read).await?;
        };
        let head = String::from_utf8_lossy(&read[..head_bytes]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("a length")?.trim().parse()?;
        while read.len() < head_bytes + length {
            self.more(&mut read).await?;
        }
        Ok((status, String::from_utf8_lossy(&read[head_bytes..]).into_owned()))
    }

    async fn more(&mut self, read: &mut Vec<u8>) -> anyhow::Result<()> {
        if self.0.read_buf(read).await? == 0 {
            bail!("the connection ended");
        }
        Ok(())
    }
}
