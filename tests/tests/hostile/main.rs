//! What the hostile may do to a member with TLS, all at once, while somebody behaves: thousands who begin a handshake and no
//! more, bodies that do not end, and many large requests at the same moment.
//!
//! `make test` runs a part of it, without looking at times. `HOSTILE=full cargo test -p tests --test hostile -- --nocapture`
//! runs all of it: 10,000 half-open handshakes, 1,000 slow bodies, 200 clients with 1.5 MiB each; then the 99th percentile of
//! who behaves has to stay below 250 ms too. Memory is looked at in both.

mod crowd;
mod line;
mod target;

use std::time::Duration;

use anyhow::ensure;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::until;

use crowd::Scale;
use target::Target;

/// What a member may have had in memory at its highest, in bytes.
const MEMORY_MAX: u64 = 512 << 20;
const QUICK: Duration = Duration::from_millis(250);
/// A slow body is ended after a minute, and the machine may be slow.
const PATIENCE: Duration = Duration::from_mins(4);

#[test]
fn a_member_bears_the_hostile_and_serves_who_behaves() -> anyhow::Result<()> {
    let is_full = std::env::var("HOSTILE").is_ok_and(|value| value == "full");
    let limit = getrlimit(Resource::Nofile);
    // The member inherits it.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let wanted = if is_full { Scale::FULL } else { Scale::SMALL };
    let scale = wanted.within(limit.maximum.unwrap_or(u64::MAX));
    ensure!(!is_full || scale == wanted, "{:?} open files are too few for {wanted:?}", limit.maximum);
    let mut target = Target::start()?;
    let before = target.election_count()?;
    let (told, half_open) = crowd::attack(&target, scale)?;
    let memory = target.memory_peak()?;
    eprintln!("{scale:?}: {told:?}, memory at most {} MiB", memory >> 20);
    ensure!(target.is_running(), "the member ended:\n{}", target.log());
    ensure!(memory < MEMORY_MAX, "{} MiB", memory >> 20);
    ensure!(target.election_count()? <= before, "there was an election");
    ensure!(told.behaved_failed == 0, "who behaved was refused {} times", told.behaved_failed);
    ensure!(told.large_done > 0, "no large request was served");
    ensure!(
        told.large_done + told.large_refused == scale.large,
        "of {} large requests some got no answer: {told:?}",
        scale.large
    );
    // Refusals are counted.
    let crowded = r#"kvorum_tls_handshakes_total{listener="client",outcome="crowded"}"#;
    let late = r#"kvorum_tls_handshakes_total{listener="client",outcome="late"}"#;
    let slow = r#"kvorum_gateway_limits_total{limit="slow-body"}"#;
    let ended = || {
        let counted = target.counted(crowded).ok()? + target.counted(late).ok()?;
        (counted >= scale.half_open as f64).then_some(())
    };
    ensure!(
        until(PATIENCE, ended).is_some(),
        "of {} handshakes {} gave way and {} were ended",
        scale.half_open,
        target.counted(crowded)?,
        target.counted(late)?
    );
    drop(half_open);
    if is_full {
        ensure!(told.slow_ended > 0 && target.counted(slow)? > 0.0, "no slow body was ended: {told:?}");
        ensure!(told.p99 < QUICK, "the 99th percentile of who behaves is {:?}", told.p99);
    }
    Ok(())
}
