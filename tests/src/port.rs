//! Ports that nobody uses right now.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use rand::RngExt as _;

/// Below those that the kernel gives to connections that go out: a port of a member that is down for a while
/// must still be free when it comes back.
const PORTS: Range<u16> = 10_000..30_000;

/// Ports that are tried until one is free.
const TRIES_MAX: usize = 100;

/// Two different free ports on the loopback interface. Somebody may take one before it is used; whoever
/// starts a process with them tries again with other ones then.
pub(crate) fn free_pair() -> io::Result<(u16, u16)> {
    let first = free()?;
    let second = free()?;
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn free() -> io::Result<TcpListener> {
    let mut last = io::Error::other("no port was tried");
    for _ in 0..TRIES_MAX {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, rand::rng().random_range(PORTS))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
