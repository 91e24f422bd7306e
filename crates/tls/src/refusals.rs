//! Lines about refused connections: one each, and no more of them in a second than a log can bear.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Side;

/// Lines in a second; what is beyond is counted and told with the next line.
const LINES_MAX: u32 = 10;

/// The log's patience.
#[derive(Debug)]
pub(crate) struct Refusals {
    side: Side,
    second: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    began: Instant,
    lines: u32,
    suppressed: u64,
}

impl Refusals {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, second: Mutex::new(Second { began: Instant::now(), lines: 0, suppressed: 0 }) }
    }

    /// Tells of one, in etcd's words.
    pub(crate) fn tell(&self, remote: SocketAddr, server_name: &str, error: &str) {
        let Some(suppressed) = self.admit() else { return };
        let of = self.side.label();
        if suppressed == 0 {
            tracing::warn!(
                { "remote-addr" } = %remote, { "server-name" } = server_name, listener = of, error,
                "rejected connection"
            );
        } else {
            tracing::warn!(
                { "remote-addr" } = %remote, { "server-name" } = server_name, listener = of, error,
                { "suppressed-lines" } = suppressed, "rejected connection"
            );
        }
    }

    /// How many were not told since the last one, if this one may be.
    fn admit(&self) -> Option<u64> {
        let mut second = self.second.lock();
        if second.began.elapsed() >= Duration::from_secs(1) {
            (second.began, second.lines) = (Instant::now(), 0);
        }
        if second.lines >= LINES_MAX {
            second.suppressed += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let refusals = Refusals::new(Side::Client);
        let told = (0..1000).filter_map(|_| refusals.admit()).count();
        // On a very slow machine it may take more than a second.
        assert!((10..100).contains(&told), "{told}");
        refusals.second.lock().began -= Duration::from_secs(2);
        assert!(refusals.admit().is_some_and(|suppressed| suppressed > 0));
        assert_eq!(refusals.admit(), Some(0));
    }
}
