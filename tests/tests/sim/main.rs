//! The simulator: a whole cluster in one thread, made from the real replica, log, state machine and keyspaces, on
//! disks, a network and clocks that a seed controls.
//!
//! `make test` runs 200 seeds; `make sim SEEDS=10000` more. `SIM_SEED=7` runs one, and with `SIM_TRACE=1` tells its
//! whole story; `SIM_PLANTED=SkipEntry` plants a fault.

mod applying;
mod chance;
mod clients;
mod clock;
mod disk;
mod heal;
mod history;
mod invariants;
mod leasing;
mod member;
mod network;
mod plan;
mod planted;
mod runner;
mod storing;
mod trace;
mod troubles;
mod turn;
mod watching;
mod world;

use planted::Planted;

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;
/// Lines of a story that are shown where the whole was not asked for.
const LINES_SHOWN: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn planted() -> Option<Planted> {
    let name = std::env::var("SIM_PLANTED").ok()?;
    Planted::ALL.into_iter().find(|planted| format!("{planted:?}") == name)
}

/// The story of a seed, or its end, and what came of it.
fn story(seed: u64, planted: Option<Planted>) -> (String, bool) {
    let (lines, result) = runner::tell(seed, planted);
    let shown = if number("SIM_TRACE") == Some(1) { lines.len() } else { LINES_SHOWN };
    let from = lines.len().saturating_sub(shown);
    let good = result.is_ok();
    let verdict = match result {
        Ok(counts) => format!("no violation: {counts:?}"),
        Err(violation) => violation.to_string(),
    };
    (format!("{}\nseed {seed}: {verdict}", lines[from..].join("\n")), good)
}

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let (story, good) = story(seed, planted());
        eprintln!("{story}");
        assert!(good, "seed {seed} breaks an invariant");
        return;
    }
    let began = std::time::Instant::now();
    let count = number("SEEDS").unwrap_or(SEEDS);
    let summary = runner::sweep(1, count, planted(), 3);
    let taken = began.elapsed().as_secs_f64();
    eprintln!(
        "sim: {} of {count} seeds without a violation in {taken:.1} s: {:?}",
        summary.good, summary.counts
    );
    let Some((first, violation)) = summary.bad.first() else { return };
    for (seed, violation) in &summary.bad {
        eprintln!("sim: seed {seed}: {violation}");
    }
    panic!(
        "seed {first}: {violation}\n{}\nreplay: SIM_SEED={first} SIM_TRACE=1 cargo test -p tests --test sim no_seed \
         -- --nocapture",
        story(*first, planted()).0
    );
}

/// Seeds among which every planted fault must be found.
const SEEDS_PER_FAULT: u64 = 1000;

/// Each fault in turn, until a seed shows it. What is printed is the table of `make sim-faults`.
#[test]
fn planted_faults_are_found() {
    let mut missed = Vec::new();
    for planted in Planted::ALL {
        let began = std::time::Instant::now();
        let summary = runner::sweep(1, number("SEEDS").unwrap_or(SEEDS_PER_FAULT), Some(planted), 1);
        let taken = began.elapsed().as_secs_f64();
        match summary.bad.first() {
            Some((seed, violation)) => {
                let what: String = violation.to_string().chars().take(110).collect();
                eprintln!(
                    "{:<24} seed {seed:>4}  {taken:>5.1} s  {}",
                    format!("{planted:?}"),
                    what.replace('\n', " ")
                );
            }
            None => missed.push(planted),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// What a fault breaks inside a member is seen at once by the checks that look there.
#[test]
fn broken_promises_are_seen() {
    for planted in [Planted::AcknowledgeBeforeSync, Planted::VoteBeforeDurable] {
        let found = (1..=20).any(|seed| {
            let mut world = world::World::new(seed, Some(planted), false).expect("a founder's state opens");
            world.blind = false;
            world.run().is_err_and(|violation| violation.property == "promises")
        });
        assert!(found, "{planted:?} broke no promise");
    }
    disk::close_idle();
}
