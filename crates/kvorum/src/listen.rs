//! Sockets for the URLs that a member listens on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use members::MemberUrl;
use tls::Server;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that wait to be accepted; the kernel's own limit may be lower.
const BACKLOG_MAX: u32 = 4096;

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {url} (--{flag}): {source}; stop what has the port (`ss -ltnp` shows it), or give another URL"
)]
pub struct ListenError {
    url: String,
    flag: &'static str,
    #[source]
    source: io::Error,
}

/// A socket, and whether it speaks TLS.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub listener: TcpListener,
    /// Whether its URL is https.
    pub is_tls: bool,
}

/// A socket with what it needs to serve.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub listener: TcpListener,
    /// For https.
    pub tls: Option<Arc<Server>>,
}

/// Listens on every URL, or on none. `flag` is where they were given.
pub async fn listen(
    urls: &[MemberUrl],
    flag: &'static str,
    reuse_port: bool,
) -> Result<Vec<Listening>, ListenError> {
    let mut listeners = Vec::with_capacity(urls.len());
    for url in urls {
        let bound = bind(url.address(), reuse_port).await;
        let listener = bound.map_err(|source| ListenError { url: url.to_string(), flag, source })?;
        listeners.push(Listening { listener, is_tls: url.scheme().is_tls() });
    }
    Ok(listeners)
}

/// Gives those that need it their TLS.
///
/// # Panics
/// When one needs it and there is none, which is a mistake in this program: whoever has https URLs has asked for it.
pub fn doors(listening: Vec<Listening>, tls: Option<&Arc<Server>>) -> Vec<Door> {
    let door = |Listening { listener, is_tls }| {
        let tls = tls.filter(|_| is_tls).cloned();
        assert!(tls.is_some() == is_tls, "an https listener without TLS");
        Door { listener, tls }
    };
    listening.into_iter().map(door).collect()
}

/// `localhost` may be two addresses. As in Go the first of IPv4 wins.
async fn bind(address: &str, reuse_port: bool) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address =
        *address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait until the connections of the last run are forgotten.
    socket.set_reuseaddr(true)?;
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG_MAX)
}
