//! Ports that nobody uses right now.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Two different free ports on the loopback interface. Somebody may take one before it is used; whoever
/// starts a process with them tries again with other ones then.
pub(crate) fn free_pair() -> io::Result<(u16, u16)> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let second = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}
