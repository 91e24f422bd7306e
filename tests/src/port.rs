//! Ports that nobody uses right now.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use rand::RngExt as _;

/// Below those that the kernel gives to connections that go out: a port of a member that is down for a while
/// must still be free when it comes back.
const PORTS: Range<u16> = 10_000..30_000;

/// Ports that are tried until one is free.
const TRIES_MAX: usize = 100;

/// What this process has given away. A member is configured before it listens, and what is not yet listened on
/// looks free to the tests beside it.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

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
        let port = rand::rng().random_range(PORTS);
        if !GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            continue;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}
