//! The one place where connections begin: a URL becomes bytes that go and come. With TLS where the URL says so.
//!
//! INVARIANT: a connection of which the other end takes nothing is given up by the kernel after a named time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Uri;
use socket2::SockRef;
use tls::{Client, Server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::socket::Socket;

/// How connections to HTTP/2 begin, as far as it tells them from any of HTTP/1.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host and port, as they stand in the URL.
    pub(crate) authority: String,
    /// Whether TLS is spoken there.
    pub(crate) is_tls: bool,
}

/// Why a URL leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL with host and port.
    #[error("`{0}` is not a URL with a host and a port")]
    Malformed(String),
    /// More than this version can do.
    #[error("`{0}`: only http and https are spoken between members")]
    Scheme(String),
}

impl Address {
    /// Reads `http://host:port` or `https://host:port`; a path is left out.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(AddressError::Scheme(url.to_owned())),
            None => return Err(malformed()),
        };
        let authority =
            uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(malformed)?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { authority: format!("{}:{port}", authority.host()), is_tls })
    }

    /// Host, an IPv6 address in brackets.
    fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or("", |(host, _)| host)
    }

    /// How what is spoken there is called.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// What passed a connection, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    read: AtomicU64,
    written: AtomicU64,
}

impl Meter {
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    /// What was read to see who speaks, and was not taken yet.
    ahead: Bytes,
    meter: Arc<Meter>,
}

impl Wire {
    /// Calls `address`, with `tls` where it asks for that; all of it within `time_max`. What was sent and not confirmed for `silence_max` ends the connection.
    pub(crate) async fn dial(
        address: &Address,
        tls: Option<&Client>,
        time_max: Duration,
        silence_max: Duration,
    ) -> io::Result<Self> {
        let connected = timeout(time_max, Self::connect(address, tls, silence_max)).await;
        connected.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {time_max:?}"))
        })?
    }

    async fn connect(address: &Address, tls: Option<&Client>, silence_max: Duration) -> io::Result<Self> {
        let socket = TcpStream::connect(&address.authority).await?;
        socket.set_nodelay(true)?;
        if !address.is_tls {
            return Self::new(Socket::Plain(socket), silence_max);
        }
        let tls = tls.ok_or_else(|| io::Error::other("https is not set up between members here"))?;
        let stream = tls.connect(address.host(), socket).await?;
        Self::new(Socket::Called(Box::new(stream)), silence_max)
    }

    /// Takes a connection that came in, through its handshake if there is to be one. `None` if nothing comes of it,
    /// which the log knows.
    pub(crate) async fn accept(
        socket: TcpStream,
        tls: Option<&Server>,
        silence_max: Duration,
    ) -> io::Result<Option<Self>> {
        socket.set_nodelay(true)?;
        let socket = match tls {
            None => Socket::Plain(socket),
            Some(tls) => match tls.accept(socket).await {
                Some(session) => Socket::Came(Box::new(session.stream)),
                None => return Ok(None),
            },
        };
        Self::new(socket, silence_max).map(Some)
    }

    fn new(socket: Socket, silence_max: Duration) -> io::Result<Self> {
        let wire = Self { socket, ahead: Bytes::new(), meter: Arc::default() };
        wire.give_up_after(silence_max)?;
        Ok(wire)
    }

    /// What was sent and not confirmed, or not taken, for `silence_max` ends the connection. The kernel's own patience
    /// is a quarter of an hour, and after a cut it tries again ever more rarely: a new connection is there sooner than
    /// the old one has recovered.
    pub(crate) fn give_up_after(&self, silence_max: Duration) -> io::Result<()> {
        SockRef::from(self.socket.tcp()).set_tcp_user_timeout(Some(silence_max))
    }

    /// What passed so far, for as long as somebody holds it.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Whether the other end speaks HTTP/2 from the start. Waits for its first bytes.
    pub(crate) async fn speaks_http2(&mut self) -> io::Result<bool> {
        let mut ahead = BytesMut::from(&self.ahead[..]);
        while ahead.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&ahead) {
            if self.socket.read_buf(&mut ahead).await? == 0 {
                break;
            }
        }
        self.meter.read.fetch_add(ahead.len() as u64, Ordering::Relaxed);
        self.ahead = ahead.freeze();
        Ok(self.ahead.starts_with(HTTP2_PREFACE))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.ahead.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.meter.read.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.meter.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(context, pieces))?;
        self.meter.written.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_place_or_a_sentence() {
        for (url, expect) in [
            ("http://127.0.0.1:2380", Ok("127.0.0.1:2380")),
            ("http://[::1]:2380/", Ok("[::1]:2380")),
            ("http://localhost", Ok("localhost:80")),
            ("https://a:2380", Ok("a:2380")),
            ("https://a", Ok("a:443")),
            ("ftp://a:2380", Err("`ftp://a:2380`: only http and https are spoken between members")),
            ("127.0.0.1:2380", Err("`127.0.0.1:2380` is not a URL with a host and a port")),
            ("", Err("`` is not a URL with a host and a port")),
        ] {
            let parsed = Address::parse(url).map(|address| address.authority);
            assert_eq!(
                parsed.as_deref().map_err(ToString::to_string),
                expect.map_err(str::to_owned),
                "{url}"
            );
        }
    }
}
