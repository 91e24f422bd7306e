//! One line for each slow request: what the member was busy with meanwhile, and what to do about it.
//!
//! INVARIANT: a request that is not slow pays nothing for it, and a flood of slow ones is no flood of lines.

use std::time::{Duration, Instant};

use api::{Member, Stages};
use parking_lot::Mutex;
use tracing::warn;

/// Lines in a second; further ones are counted and told with the next.
const LINES_MAX: u32 = 20;
/// Calls that are slow on purpose.
const PATIENT: [&str; 3] = ["Lock", "Campaign", "Defragment"];

/// See the module.
#[derive(Default)]
pub(crate) struct SlowLog {
    now: Mutex<Second>,
}

#[derive(Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl SlowLog {
    /// Tells a request that took so long.
    pub(crate) fn tell(&self, member: &dyn Member, what: &str, took: Duration) {
        if PATIENT.contains(&what) {
            return;
        }
        let Some(untold) = self.admit(Instant::now()) else { return };
        let Stages { log_sync, apply, log_sync_of_a_minute } = member.stages(took);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let rest = took.saturating_sub(log_sync).saturating_sub(apply);
        warn!(
            request = what,
            { "took-ms" } = ms(took),
            { "log-sync-ms" } = ms(log_sync),
            { "apply-ms" } = ms(apply),
            { "rest-ms" } = ms(rest),
            { "log-sync-of-a-minute-ms" } = ms(log_sync_of_a_minute),
            { "not-told" } = untold,
            "slow request: {what} {} ms: log sync up to {}, apply up to {}, peers and queues {}; {}",
            ms(took),
            ms(log_sync),
            ms(apply),
            ms(rest),
            hint(took, log_sync, apply)
        );
    }

    /// Whether there is room for a line, and how many had none since the last.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut second = self.now.lock();
        if second.began.is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1)) {
            (second.began, second.lines) = (Some(now), 0);
        }
        if second.lines == LINES_MAX {
            second.untold += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.untold))
    }
}

/// What took most of the time, and what can be done.
fn hint(took: Duration, log_sync: Duration, apply: Duration) -> &'static str {
    if log_sync * 2 >= took {
        "the disk of this member's log is slow: give it a faster one, or one of its own by --wal-dir"
    } else if apply * 2 >= took {
        "applying took long: look for large transactions and ranges, and for other work on this machine's cores"
    } else {
        "neither this member's disk nor its applying: look at the other members' disks, at the network between them \
         (etcd_network_peer_round_trip_time_seconds) and at this machine's load"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let (log, now) = (SlowLog::default(), Instant::now());
        let told = (0..100).filter(|_| log.admit(now).is_some()).count();
        assert_eq!(told, LINES_MAX as usize);
        assert_eq!(log.admit(now + Duration::from_secs(1)), Some(100 - u64::from(LINES_MAX)));
        assert_eq!(log.admit(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn the_hint_is_about_what_took_most() {
        let ms = Duration::from_millis;
        assert!(hint(ms(412), ms(398), ms(3)).starts_with("the disk of this member's log"));
        assert!(hint(ms(412), ms(3), ms(398)).starts_with("applying took long"));
        assert!(hint(ms(412), ms(3), ms(4)).starts_with("neither"));
    }
}
