//! Power loss, through the whole of a member but its sockets: replica, log, machine and database, on a disk
//! that may lose any subset of what was not synced.
//!
//! After every loss the member must come up, hold every command that was acknowledged, hold nothing that was
//! never proposed, hold whole prefixes only, and go on. The database keeps what it last flushed, which may lie
//! anywhere behind the log.

mod member;

use member::{Disks, Life, Stop};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wal::double::Loss;

/// Steps of a small history: enough for a start, two batches and a flush between them.
const SMALL: [Step; 4] = [Step::Propose(2), Step::Flush, Step::Propose(1), Step::Propose(1)];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Proposes so many commands at once and waits for them.
    Propose(usize),
    /// The database puts itself into files; the log is released up to there.
    Flush,
}

fn take(life: &mut Life, step: Step) -> Result<(), Stop> {
    match step {
        Step::Propose(many) => life.propose(many),
        Step::Flush => life.flush(),
    }
}

/// Runs a small history until power goes at the disk's change number `change`; says whether it got there.
fn small_history(change: u64) -> (Disks, bool) {
    let mut disks = Disks::new();
    disks.log.cut_power_at(change);
    let mut cut = false;
    match Life::begin(&disks, 0) {
        Ok(mut life) => {
            for step in SMALL {
                if take(&mut life, step).is_err() {
                    cut = true;
                    break;
                }
            }
            disks.acknowledged = life.end();
        }
        Err(_) => cut = true,
    }
    (disks, cut)
}

#[test]
fn small_histories_survive_every_subset_of_what_was_not_synced() {
    let mut losses = 0_u64;
    for change in 0.. {
        let (disks, cut) = small_history(change);
        if !cut {
            assert!(change > 8, "a small history makes more changes than {change}");
            break;
        }
        let pending = disks.log.pending();
        assert!(pending < 14, "{pending} changes not synced at {change}: too many for every subset");
        for kept in 0..1_u64 << pending {
            losses += 1;
            let after = disks.after(Loss::Keep(kept));
            let mut life = Life::begin(&after, 1).unwrap_or_else(|stop| {
                panic!("no start after a loss at change {change}, kept {kept:b}: {stop:?}")
            });
            life.check(&disks.acknowledged, &format!("change {change}, kept {kept:b}"));
            life.propose(1).expect("the member goes on");
        }
    }
    assert!(losses > 100, "only {losses} losses were tried");
}

#[test]
fn long_histories_survive_losses_at_random() {
    let first: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + 150 {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut disks = Disks::new();
        for number in 0..chance.random_range(2..6) {
            let note = format!("SEED={seed}, life {number}");
            if chance.random_bool(0.8) {
                disks.log.cut_power_at(disks.log.changes() + chance.random_range(0..60));
            }
            match Life::begin(&disks, number) {
                Ok(mut life) => {
                    life.check(&disks.acknowledged, &note);
                    for _ in 0..chance.random_range(1..40) {
                        let step = if chance.random_bool(0.15) {
                            Step::Flush
                        } else {
                            Step::Propose(chance.random_range(1..8))
                        };
                        if take(&mut life, step).is_err() {
                            break;
                        }
                    }
                    disks.acknowledged = life.end();
                }
                Err(Stop::PowerIsGone) => {}
                Err(stop) => panic!("{note}: {stop:?}"),
            }
            let loss = if chance.random_bool(0.2) { Loss::All } else { Loss::Seed(chance.random()) };
            disks = disks.after(loss);
        }
        let life = Life::begin(&disks, 99).unwrap_or_else(|stop| panic!("SEED={seed}, last start: {stop:?}"));
        life.check(&disks.acknowledged, &format!("SEED={seed}, at the end"));
    }
}

#[test]
fn the_checks_see_a_lost_acknowledgement() {
    let mut disks = Disks::new();
    let mut life = Life::begin(&disks, 0).expect("starts");
    life.propose(3).expect("proposed");
    disks.acknowledged = life.end();
    disks.acknowledged.push("a command that never was".to_owned());
    let life = Life::begin(&disks, 1).expect("starts");
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        life.check(&disks.acknowledged, "on purpose");
    }));
    assert!(seen.is_err(), "a command that was acknowledged and is not there must be seen");
}
