//! Sockets for the URLs that a member listens on.

use std::io;
use std::net::SocketAddr;

use members::MemberUrl;
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

/// Listens on every URL, or on none. `flag` is where they were given.
pub async fn listen(urls: &[MemberUrl], flag: &'static str) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::with_capacity(urls.len());
    for url in urls {
        let bound = bind(url.address()).await;
        listeners.push(bound.map_err(|source| ListenError { url: url.to_string(), flag, source })?);
    }
    Ok(listeners)
}

/// `localhost` may be two addresses. As in Go the first of IPv4 wins.
async fn bind(address: &str) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address =
        *address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait until the connections of the last run are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_MAX)
}
